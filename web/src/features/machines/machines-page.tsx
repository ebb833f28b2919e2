import { Plus, Server } from 'lucide-react'
import { useState } from 'react'
import { query, type Schemas } from '@/api/client'
import { Page } from '@/app/page'
import { Button } from '@/components/ui/button'
import { Card } from '@/components/ui/card'
import { ErrorCard } from '@/components/ui/error-card'
import { Money } from '@/components/ui/money'
import { Loading, Skeleton } from '@/components/ui/skeleton'
import { counted } from '@/lib/format'
import { Enrol, EnrolDialog } from './enrol'
import { MachineCard } from './machine-card'

const days = 30

/** The machines that an account lends, and what they earn. */
export function MachinesPage() {
  const hosts = query.useQuery('get', '/api/hosts', { params: { query: { limit: 100, mine: true } } })
  const earnings = query.useQuery('get', '/api/hosts/earnings', { params: { query: { days } } }, { refetchInterval: 30_000 })
  const [adding, setAdding] = useState(false)
  const [starting, setStarting] = useState(false)
  const items = hosts.data?.items.filter((h) => h.standing !== 'retired')
  // The first machine is in the list as soon as it is enrolled; how to run it still has
  // to be read then.
  if (items?.length === 0 && !starting) setStarting(true)
  const feeBps = earnings.data?.fee_bps
  return (
    <Page
      title="Machines"
      className="min-h-[calc(100dvh-3.5rem)]" // the footer does not jump when they come
      actions={
        items &&
        !starting && (
          <Button onClick={() => setAdding(true)}>
            <Plus aria-hidden />
            Add a machine
          </Button>
        )
      }
    >
      {hosts.error && !items ? (
        <ErrorCard error={hosts.error} title="Your machines could not be loaded" retry={() => void hosts.refetch()} />
      ) : !items ? (
        <div className="grid gap-5">
          <Loading what="your machines" />
          <Skeleton className="h-64 w-full sm:h-24" />
          <Skeleton className="h-[32rem] w-full sm:h-48" />
        </div>
      ) : starting ? (
        <Card className="p-5 sm:p-6">
          <div className="flex items-center gap-3">
            <span className="grid size-10 shrink-0 place-items-center rounded-full bg-sunken text-muted ring-1 ring-line">
              <Server className="size-5" aria-hidden />
            </span>
            <div>
              <h2 className="font-semibold">Add your first machine</h2>
              <p className="text-sm text-muted">Run these on the machine that has the GPUs. It dials out; no port has to be open.</p>
            </div>
          </div>
          <Enrol feeBps={feeBps} done={() => setStarting(false)} />
        </Card>
      ) : (
        <div className="grid gap-5">
          <EarningsCard earnings={earnings.data} broken={!!earnings.error} />
          {items.map((h) => (
            <MachineCard key={h.id} host={h} feeBps={feeBps} />
          ))}
        </div>
      )}
      <EnrolDialog open={adding} onOpenChange={setAdding} feeBps={feeBps} />
    </Page>
  )
}

/** What all machines earned: today, in a week, in a month. */
function EarningsCard({ earnings, broken }: { earnings: Schemas['Earnings'] | undefined; broken: boolean }) {
  const sum = (n: number) => {
    const part = earnings?.days.slice(0, n) ?? []
    const of = (key: 'net_micros' | 'gross_micros' | 'fee_micros' | 'jobs') => part.reduce((total, d) => total + d[key], 0)
    return { net: of('net_micros'), gross: of('gross_micros'), fee: of('fee_micros'), jobs: of('jobs') }
  }
  return (
    <Card aria-label="Earnings">
      <dl className="grid divide-line max-sm:divide-y sm:grid-cols-3 sm:divide-x">
        {(
          [
            ['Today', 1],
            ['7 days', 7],
            ['30 days', 30],
          ] as const
        ).map(([label, n]) => {
          const s = sum(n)
          return (
            <div key={label} className="px-4 py-3.5 sm:px-5">
              <dt className="text-[13px] text-muted">Earned {label === 'Today' ? 'today (UTC)' : `in ${label}`}</dt>
              <dd className="min-h-12">
                {earnings ? (
                  <>
                    <span className="text-xl font-semibold">
                      <Money micros={s.net} currency={earnings.currency} />
                    </span>
                    <span className="num block text-[13px] text-muted">
                      {counted(s.jobs, 'job')}: <Money micros={s.gross} currency={earnings.currency} /> less <Money micros={s.fee} currency={earnings.currency} /> fee
                    </span>
                  </>
                ) : broken ? (
                  '–'
                ) : (
                  <Skeleton className="h-12 w-32" />
                )}
              </dd>
            </div>
          )
        })}
      </dl>
    </Card>
  )
}
