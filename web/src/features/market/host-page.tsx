import { getRouteApi, Link } from '@tanstack/react-router'
import { query, type Schemas } from '@/api/client'
import { ApiError } from '@/api/problem'
import { NotFoundPage } from '@/app/error-page'
import { Page } from '@/app/page'
import { Badge } from '@/components/ui/badge'
import { Button } from '@/components/ui/button'
import { Card, CardBody, CardHeader } from '@/components/ui/card'
import { ErrorCard } from '@/components/ui/error-card'
import { Money } from '@/components/ui/money'
import { Skeleton } from '@/components/ui/skeleton'
import { Table, Td, Th } from '@/components/ui/table'
import { Ago, At } from '@/components/ui/time'
import { count, counted, mebibytes, percent } from '@/lib/format'
import { shortModel } from './offer-table'
import { UptimeBars } from './uptime-bars'

const route = getRouteApi('/hosts/$id')

/** A host, as everybody sees it. */
export function HostPage() {
  const { id } = route.useParams()
  const { data: host, error, refetch } = query.useQuery('get', '/api/market/hosts/{id}', { params: { path: { id } } }, { refetchInterval: 30_000 })
  // What is not there is the page for that.
  if (error instanceof ApiError && [400, 404, 422].includes(error.status)) return <NotFoundPage />
  if (error && !host) {
    return (
      <Page title="Host">
        <ErrorCard error={error} title="The host could not be loaded" retry={() => void refetch()} />
      </Page>
    )
  }
  return (
    <Page
      title={host?.name ?? 'Host'}
      heading={
        host ? (
          <span className="flex flex-wrap items-center gap-3">
            {host.name} {host.online ? <Badge tone="good">online</Badge> : <Badge>offline</Badge>}
            {host.verified && <Badge tone="info">verified</Badge>}
          </span>
        ) : (
          <Skeleton className="h-9 w-48" />
        )
      }
      lead={<span className="block min-h-10 sm:min-h-5">{host && <Lead host={host} />}</span>}
    >
      {host ? <Body host={host} /> : <Skeleton className="h-[52rem] w-full sm:h-[34rem]" />}
    </Page>
  )
}

function Lead({ host }: { host: Schemas['MarketHost'] }) {
  return (
    <>
      A machine of {host.owner.handle}
      {host.region && ` in ${host.region}`}
      {'. '}
      {host.tags.length > 0 && `Tags: ${host.tags.join(', ')}. `}
      {!host.online && host.seen_at && (
        <>
          Last heard of <Ago time={host.seen_at} />.
        </>
      )}
    </>
  )
}

function Body({ host }: { host: Schemas['MarketHost'] }) {
  const m = host.machine
  return (
    <div className="grid gap-5">
      <Card className="overflow-hidden">
        <CardHeader title="GPUs" />
        {host.devices.length === 0 ? (
          <CardBody>
            <p className="text-sm text-muted">Its owner offers none at the moment.</p>
          </CardBody>
        ) : (
          <Table aria-label="GPUs of this host">
            <thead>
              <tr>
                <Th>Model</Th>
                <Th className="text-right max-sm:hidden">Memory</Th>
                <Th className="max-sm:hidden">Status</Th>
                <Th className="text-right">Per hour</Th>
                <Th>
                  <span className="sr-only">Rent</span>
                </Th>
              </tr>
            </thead>
            <tbody>
              {host.devices.map((d) => (
                <tr key={d.id}>
                  <Td className="font-medium">
                    {shortModel(d.model)}
                    <span className="block text-[13px] font-normal text-muted sm:hidden">
                      {mebibytes(d.vram_mb)}, {d.status}
                    </span>
                  </Td>
                  <Td className="text-right whitespace-nowrap max-sm:hidden">{mebibytes(d.vram_mb)}</Td>
                  <Td className="max-sm:hidden">
                    <Badge tone={d.status === 'available' ? 'good' : 'neutral'}>{d.status}</Badge>
                  </Td>
                  <Td className="text-right font-medium">
                    <Money micros={d.price_micros} currency={host.currency} />
                  </Td>
                  <Td className="text-right">
                    {d.status === 'available' && !m.owner_only && (
                      <Button asChild variant="secondary" size="small">
                        <Link to="/jobs/new" search={{ model: d.model, host: host.id }}>
                          Rent<span className="sr-only"> {shortModel(d.model)}</span>
                        </Link>
                      </Button>
                    )}
                  </Td>
                </tr>
              ))}
            </tbody>
          </Table>
        )}
      </Card>
      <div className="grid gap-5 lg:grid-cols-2">
        <Card>
          <CardHeader title="Uptime">
            <span className="num text-sm font-semibold">{percent(host.uptime.ratio)}</span>
          </CardHeader>
          <CardBody>
            <UptimeBars uptime={host.uptime} />
          </CardBody>
        </Card>
        <Card>
          <CardHeader title="Reliability">
            <span className="num text-sm font-semibold">{percent(host.reliability.rate)}</span>
          </CardHeader>
          <CardBody>
            <p className="text-sm text-muted">
              {host.reliability.runs === 0
                ? 'It has run nothing yet. The match reckons with nine good runs of ten until it has.'
                : `${count(host.reliability.runs_ok)} of ${count(host.reliability.runs)} attempts ended without a fault of the host. The match reckons with ten more, nine of them good.`}
            </p>
          </CardBody>
        </Card>
      </div>
      <Card>
        <CardHeader title="Machine" />
        <CardBody>
          <dl className="grid gap-x-8 gap-y-2 text-sm sm:grid-cols-2">
            <Fact term="CPU">{counted(m.cpus, 'thread')}</Fact>
            <Fact term="Memory">{mebibytes(m.memory_mb)}</Fact>
            <Fact term="Disk">{mebibytes(m.disk_mb)}</Fact>
            <Fact term="System">{[m.os, m.arch].filter(Boolean).join(', ')}</Fact>
            <Fact term="Isolation">{m.isolation}{m.owner_only && ', and it takes the jobs of its owner alone'}</Fact>
            <Fact term="Network">{host.bandwidth_mbps ? `${count(host.bandwidth_mbps)} Mbit/s, measured` : 'not measured yet'}</Fact>
            <Fact term="Enrolled">
              <At time={host.created_at} />
            </Fact>
          </dl>
        </CardBody>
      </Card>
    </div>
  )
}

const Fact = ({ term, children }: { term: string; children: React.ReactNode }) => (
  <div className="flex justify-between gap-4 border-b border-line pb-2 last:border-b-0 sm:[&:nth-last-child(2)]:border-b-0">
    <dt className="text-muted">{term}</dt>
    <dd className="text-right">{children}</dd>
  </div>
)
