import { query, type Schemas } from '@/api/client'
import { Badge } from '@/components/ui/badge'
import { Card, CardBody, CardHeader } from '@/components/ui/card'
import { ErrorCard } from '@/components/ui/error-card'
import { Money } from '@/components/ui/money'
import { Skeleton } from '@/components/ui/skeleton'
import { Table, Td, Th } from '@/components/ui/table'
import { useMine } from './mine'
import { At } from '@/components/ui/time'

type Job = Schemas['Job']

const accounts = { renter_wallet: 'the renter’s credit', renter_hold: 'held for this job', host_pending: 'the host', platform_fee: 'the platform' }
const kinds = { top_up: 'Credit', hold: 'Held', settle: 'Settled', release: 'Released' }

/** A job in money, line by line: the same that the host sees. */
export function Bill({ job }: { job: Job }) {
  const mine = useMine(job)
  const statement = query.useQuery(
    'get',
    '/api/jobs/{id}/statement',
    { params: { path: { id: job.id } } },
    { refetchInterval: (q) => (q.state.data?.state === 'open' ? 3000 : false) },
  )
  if (statement.error && !statement.data) return <ErrorCard error={statement.error} title="The bill could not be loaded" retry={() => void statement.refetch()} />
  const s = statement.data
  if (!s) return <Skeleton className="h-64 w-full" />
  const line = (term: string, micros: number, strong = false) => (
    <div className={strong ? 'flex justify-between gap-4 border-t border-line pt-2 font-semibold' : 'flex justify-between gap-4'}>
      <dt className={strong ? '' : 'text-muted'}>{term}</dt>
      <dd>
        <Money micros={micros} currency={s.currency} exact />
      </dd>
    </div>
  )
  return (
    <div className="grid gap-5">
      <Card>
        <CardHeader title="Bill">
          <Badge tone={s.state === 'open' ? 'info' : 'good'}>{s.state}</Badge>
        </CardHeader>
        <CardBody>
          <dl className="num grid max-w-md gap-2 text-sm">
            {line('Held when it was submitted', s.hold_micros)}
            {line('Given back', s.state === 'open' ? 0 : s.released_micros)}
            {line('Of what is paid, the host gets', s.host_micros)}
            {line(`and the platform (${s.fee_bps / 100} %)`, s.fee_micros)}
            {line(mine ? 'You pay' : 'The renter pays', s.amount_micros, true)}
          </dl>
          {s.state === 'open' && <p className="mt-3 text-[13px] text-muted">It is settled when the job has ended, by the millisecond.</p>}
        </CardBody>
      </Card>
      {s.lines.length > 0 && (
        <Card className="overflow-hidden">
          <CardHeader title="What was posted" />
          <Table aria-label="Postings">
            <thead>
              <tr>
                <Th>What</Th>
                <Th className="max-sm:hidden">When</Th>
                <Th>Account</Th>
                <Th className="text-right">Amount</Th>
              </tr>
            </thead>
            <tbody>
              {s.lines.map((l, i) => (
                // oxlint-disable-next-line react/no-array-index-key -- a posting has no name of its own, and none is ever inserted
                <tr key={i}>
                  <Td>
                    {kinds[l.kind]}
                    <At time={l.created_at} className="block text-[13px] text-muted sm:hidden" />
                  </Td>
                  <Td className="whitespace-nowrap text-muted max-sm:hidden">
                    <At time={l.created_at} />
                  </Td>
                  <Td className="text-muted">{mine && l.account === 'renter_wallet' ? 'your credit' : accounts[l.account]}</Td>
                  <Td className="text-right">
                    <Money micros={l.amount_micros} currency={s.currency} exact />
                  </Td>
                </tr>
              ))}
            </tbody>
          </Table>
        </Card>
      )}
    </div>
  )
}
