import { useState } from 'react'
import { query, type Schemas } from '@/api/client'
import { ErrorCard } from '@/components/ui/error-card'
import { Money } from '@/components/ui/money'
import { Skeleton } from '@/components/ui/skeleton'
import { Table, Td, Th } from '@/components/ui/table'
import { Ago } from '@/components/ui/time'
import { counted, duration } from '@/lib/format'

const shown = 10

/** What a machine ran lately, and what each run earned. It is read when it is opened. */
export function RecentJobs({ host }: { host: Schemas['Host'] }) {
  const [open, setOpen] = useState(false)
  return (
    <details className="border-t border-line" onToggle={(e) => setOpen(e.currentTarget.open)}>
      <summary className="px-4 py-2.5 text-[13px] font-medium text-muted hover:text-text sm:px-5">Recent jobs</summary>
      {open && <List host={host} />}
    </details>
  )
}

function List({ host }: { host: Schemas['Host'] }) {
  const jobs = query.useQuery('get', '/api/hosts/{id}/jobs', { params: { path: { id: host.id }, query: { limit: shown } } }, { refetchInterval: 10_000 })
  if (jobs.error && !jobs.data) {
    return (
      <div className="p-4">
        <ErrorCard error={jobs.error} retry={() => void jobs.refetch()} />
      </div>
    )
  }
  if (!jobs.data) return <Skeleton className="m-4 h-16" />
  if (jobs.data.items.length === 0) return <p className="px-4 pb-3 text-sm text-muted sm:px-5">It has run nothing yet.</p>
  return (
    <Table aria-label={`Recent jobs of ${host.name}`}>
      <thead>
        <tr>
          <Th>When</Th>
          <Th>Outcome</Th>
          <Th className="text-right max-sm:hidden">GPUs</Th>
          <Th className="text-right max-sm:hidden">Paid time</Th>
          <Th className="text-right max-sm:hidden">Gross</Th>
          <Th className="text-right max-sm:hidden">Fee</Th>
          <Th className="text-right">Yours</Th>
        </tr>
      </thead>
      <tbody>
        {jobs.data.items.map((j) => (
          <tr key={`${j.job_id}/${j.attempt}`}>
            <Td className="whitespace-nowrap text-muted">
              <Ago time={j.leased_at} />
            </Td>
            <Td>
              {j.outcome === 'active' ? 'running' : j.outcome}
              {j.reason && <span className="text-muted">, {j.reason.replaceAll('_', ' ')}</span>}
              <span className="block text-[13px] whitespace-nowrap text-muted sm:hidden">
                {counted(j.gpus, 'GPU')}
                {j.billable_ms > 0 && `, ${duration(j.billable_ms)}`}
              </span>
            </Td>
            <Td className="text-right max-sm:hidden">{j.gpus}</Td>
            <Td className="text-right whitespace-nowrap max-sm:hidden">{j.billable_ms > 0 ? duration(j.billable_ms) : '–'}</Td>
            <Td className="text-right max-sm:hidden">
              <Money micros={j.gross_micros} currency={j.currency} />
            </Td>
            <Td className="text-right text-muted max-sm:hidden">
              <Money micros={j.fee_micros} currency={j.currency} />
            </Td>
            <Td className="text-right font-medium">
              <Money micros={j.net_micros} currency={j.currency} />
              <span className="block text-[13px] font-normal text-muted sm:hidden">
                <Money micros={j.gross_micros} currency={j.currency} /> less <Money micros={j.fee_micros} currency={j.currency} />
              </span>
            </Td>
          </tr>
        ))}
      </tbody>
    </Table>
  )
}
