import { Server } from 'lucide-react'
import { query, type Schemas } from '@/api/client'
import { Card } from '@/components/ui/card'
import { Empty } from '@/components/ui/empty'
import { ErrorCard } from '@/components/ui/error-card'
import { Money } from '@/components/ui/money'
import { Loading, Skeleton } from '@/components/ui/skeleton'
import { Table, Td, Th } from '@/components/ui/table'
import { count, vram } from '@/lib/format'

const rows = 3

/** What is on offer at this moment. */
export function MarketNow() {
  const { data, error, refetch } = query.useQuery('get', '/api/market/stats', undefined, { refetchInterval: 60_000 })
  return (
    <section aria-labelledby="market" className="border-y border-line bg-sunken">
      <div className="container-page py-12 sm:py-16">
        <h2 id="market" className="text-xl font-semibold">
          On the market now
        </h2>
        <dl className="mt-5 grid grid-cols-2 gap-x-6 gap-y-5 sm:grid-cols-4">
          <Figure label="GPUs online" value={data?.gpus_online} broken={!!error} />
          <Figure label="free this minute" value={data?.gpus_free} broken={!!error} />
          <Figure label="hosts connected" value={data?.hosts_online} broken={!!error} />
          <Figure label="jobs succeeded" value={data?.jobs_succeeded} broken={!!error} />
        </dl>
        <div className="mt-7 min-h-[10.75rem]">
          {error && !data ? <ErrorCard error={error} title="The market could not be read" retry={() => void refetch()} /> : <Cheapest stats={data} />}
        </div>
      </div>
    </section>
  )
}

function Figure({ label, value, broken }: { label: string; value: number | undefined; broken: boolean }) {
  return (
    <div className="flex flex-col-reverse">
      <dt className="text-sm text-muted">{label}</dt>
      <dd className="num flex h-9 items-center text-[1.75rem] font-semibold tracking-tight">
        {value !== undefined ? count(value) : broken ? '–' : <Skeleton className="h-7 w-14" />}
      </dd>
    </div>
  )
}

function Cheapest({ stats }: { stats: Schemas['MarketStats'] | undefined }) {
  if (stats?.cheapest.length === 0) {
    return (
      <Card>
        <Empty icon={<Server />} title="No GPU is free right now">
          Jobs wait until one is, or expire without cost. A machine of yours could be the first.
        </Empty>
      </Card>
    )
  }
  return (
    <Card className="overflow-hidden">
      {!stats && <Loading what="the market" />}
      <Table aria-label="The cheapest free GPU of each model">
        <thead>
          <tr>
            <Th>GPU</Th>
            <Th className="text-right">Memory</Th>
            <Th className="text-right max-sm:hidden">Free</Th>
            <Th className="max-sm:hidden">Cheapest host</Th>
            <Th className="text-right">Per hour</Th>
          </tr>
        </thead>
        <tbody>
          {stats
            ? stats.cheapest.map((o) => (
                <tr key={o.gpu_model}>
                  <Td className="font-medium">{o.gpu_model.replace(/^NVIDIA (GeForce )?/, '')}</Td>
                  <Td className="text-right whitespace-nowrap">{vram(o.vram_mb)}</Td>
                  <Td className="text-right max-sm:hidden">{count(o.gpus_free)}</Td>
                  <Td className="text-muted max-sm:hidden">{o.host.name}</Td>
                  <Td className="text-right font-medium">
                    <Money micros={o.price_micros} currency={stats.currency} />
                  </Td>
                </tr>
              ))
            : Array.from({ length: rows }, (_, i) => (
                <tr key={i}>
                  <Td>
                    <Skeleton className="h-4 w-32" />
                  </Td>
                  <Td>
                    <Skeleton className="ml-auto h-4 w-14" />
                  </Td>
                  <Td className="max-sm:hidden">
                    <Skeleton className="ml-auto h-4 w-6" />
                  </Td>
                  <Td className="max-sm:hidden">
                    <Skeleton className="h-4 w-24" />
                  </Td>
                  <Td>
                    <Skeleton className="ml-auto h-4 w-12" />
                  </Td>
                </tr>
              ))}
        </tbody>
      </Table>
    </Card>
  )
}
