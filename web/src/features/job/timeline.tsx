import { Check, CircleDot, RotateCcw, X } from 'lucide-react'
import { query, type Schemas } from '@/api/client'
import { Card, CardBody, CardHeader } from '@/components/ui/card'
import { ErrorCard } from '@/components/ui/error-card'
import { Money } from '@/components/ui/money'
import { Skeleton } from '@/components/ui/skeleton'
import { cn } from '@/lib/cn'
import { counted, dateTime, duration, exactMoney, percent } from '@/lib/format'
import { sentence } from '@/lib/sentence'
import { ended } from '../jobs/rerun'
import { eventWord, explain } from './words'

type Job = Schemas['Job']
type Event = Schemas['JobEvent']

/** Everything that happened to a job, with causes and how long each step took. */
export function Timeline({ job }: { job: Job }) {
  const events = query.useQuery('get', '/api/jobs/{id}/events', { params: { path: { id: job.id }, query: { limit: 100 } } })
  return (
    <Card>
      <CardHeader title="Timeline" />
      <CardBody>
        {events.error && !events.data ? (
          <ErrorCard error={events.error} retry={() => void events.refetch()} />
        ) : !events.data ? (
          <Skeleton className="h-40 w-full" />
        ) : (
          <ol className="grid">
            {events.data.items.map((e, i, all) => (
              <Step key={e.seq} event={e} next={all[i + 1]} last={i === all.length - 1} currency={job.currency} going={!ended(job)} />
            ))}
          </ol>
        )}
      </CardBody>
    </Card>
  )
}

function Step({ event: e, next, last, currency, going }: { event: Event; next: Event | undefined; last: boolean; currency: string; going: boolean }) {
  const took = next ? Date.parse(next.time) - Date.parse(e.time) : undefined
  const bad = e.type === 'jobs.failed' || e.type === 'jobs.lost'
  const Icon = bad ? X : e.type === 'jobs.queued' && e.attempt ? RotateCcw : last && going ? CircleDot : Check
  return (
    <li className="relative flex gap-3 pb-4 last:pb-0">
      {!last && <span aria-hidden className="absolute top-6 bottom-0 left-[9px] w-px bg-line" />}
      <span
        className={cn(
          'mt-0.5 grid size-5 shrink-0 place-items-center rounded-full ring-1 ring-inset [&_svg]:size-3',
          bad ? 'bg-danger-soft text-danger-text ring-danger-text/30' : last && going ? 'bg-info-soft text-info-text ring-info-text/30' : 'bg-sunken text-muted ring-line',
        )}
      >
        <Icon aria-hidden />
      </span>
      <div className="min-w-0 flex-1 text-sm">
        <div className="flex items-baseline justify-between gap-3">
          <span className="font-medium">{eventWord(e.type)}</span>
          {took !== undefined && took >= 1 && <span className="num shrink-0 text-[13px] text-muted">{duration(took)}</span>}
        </div>
        <div className="text-[13px] text-muted">
          <time dateTime={e.time}>{dateTime(Date.parse(e.time))}</time>
          {e.host && <>, {e.host.name}</>}
          {e.attempt !== undefined && e.attempt > 1 && <>, attempt {e.attempt}</>}
          {e.exit_code !== undefined && <>, exit code {e.exit_code}</>}
        </div>
        {e.reason && <p className="text-[13px]">{explain(e.reason).title}.</p>}
        {e.detail && <p className="text-[13px] break-words text-muted">{sentence(e.detail)}</p>}
        {e.amount_micros !== undefined && e.amount_micros > 0 && (
          <p className="num text-[13px] text-muted">
            {exactMoney(e.amount_micros, currency)} for {duration(e.billable_ms ?? 0)}
          </p>
        )}
        {e.choice && <Why choice={e.choice} currency={currency} />}
      </div>
    </li>
  )
}

/** The sum by which the host was chosen. */
function Why({ choice: c, currency }: { choice: Schemas['Choice']; currency: string }) {
  return (
    <details className="mt-1 text-[13px]">
      <summary className="text-accent-text">Why this host</summary>
      <p className="mt-1 text-muted">
        <Money micros={c.hourly_price_micros} currency={currency} /> an hour × ({duration(c.expected_run_ms)} expected + {duration(c.fetch_ms)} to fetch) ÷ {percent(c.success_rate)} success ={' '}
        <span className="font-medium text-text">
          <Money micros={c.effective_cost_micros} currency={currency} />
        </span>
        , the least of {counted(c.offers_considered, 'offer')}
        {c.next_effective_cost_micros !== undefined && (
          <>
            ; the next one came to <Money micros={c.next_effective_cost_micros} currency={currency} />
          </>
        )}
        .
      </p>
    </details>
  )
}
