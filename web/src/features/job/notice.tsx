import { CircleX, Hourglass, Info } from 'lucide-react'
import type { ReactNode } from 'react'
import type { Schemas } from '@/api/client'
import { Until } from '@/components/ui/time'
import { cn } from '@/lib/cn'
import { count, counted, exactMoney } from '@/lib/format'
import { sentence } from '@/lib/sentence'
import { keeps } from '../jobs/words'
import { useMine } from './mine'
import { explain } from './words'

type Job = Schemas['Job']

/** What somebody should know before reading the log: why it waits, or why it ended. */
export function Notice({ job }: { job: Job }) {
  if (job.state === 'queued') return <Waits job={job} />
  if (job.state === 'failed' || job.state === 'cancelled') return <Ended job={job} />
  // What was left out of its results.
  if (job.state === 'succeeded' && job.detail) {
    return (
      <Box tone="neutral" icon={<Info aria-hidden />}>
        <p>{sentence(job.detail)}</p>
      </Box>
    )
  }
  return null
}

function Waits({ job }: { job: Job }) {
  const w = job.waiting
  const why = (w?.exclusions ?? []).filter((e) => e.hosts > 0).toSorted((a, b) => b.hosts - a.hosts)
  return (
    <Box tone="warning" icon={<Hourglass aria-hidden />}>
      <p className="font-medium">
        {job.reason ? `${explain(job.reason).title}. It waits for another host.` : w?.hosts === 0 ? 'No host is known yet.' : 'No host can take it right now.'}
      </p>
      {why.length > 0 && w && (
        <ul className="mt-1 list-disc pl-4">
          {why.map((e) => (
            <li key={e.constraint}>
              {count(e.hosts)} of {counted(w.hosts, 'host')} {keeps(e.constraint, e.hosts)}
            </li>
          ))}
        </ul>
      )}
      <p className="mt-1">
        It starts by itself as soon as one can, and costs nothing until then.
        {w && (
          <>
            {' '}
            It expires <Until time={w.until} />.
          </>
        )}
      </p>
    </Box>
  )
}

function Ended({ job }: { job: Job }) {
  const e = explain(job.reason ?? '')
  const mine = useMine(job)
  const lost = job.cause === 'host' || job.cause === 'platform'
  return (
    <Box tone={job.state === 'failed' ? 'bad' : 'neutral'} icon={job.state === 'failed' ? <CircleX aria-hidden /> : <Info aria-hidden />}>
      <p className="font-medium">
        {job.reason === 'cancelled_by_renter' && !mine ? 'Its renter cancelled it' : e.title}
        {job.reason === 'exit_code' && job.exit_code !== undefined && ` with exit code ${job.exit_code}`}
        {job.losses >= 3 && ', for the third time'}.
      </p>
      {job.detail && job.state === 'failed' && <p>{sentence(job.detail)}</p>}
      <p>
        {job.cost_micros > 0 ? `It cost ${exactMoney(job.cost_micros, job.currency)} for the time that it ran; the rest of what was held is ${mine ? 'yours' : 'the renter’s'} again.` : lost ? `That was not ${mine ? 'your' : 'its renter’s'} doing: it costs nothing.` : 'It costs nothing.'}{' '}
        {job.cost_micros > 0 && e.advice}
        {job.cost_micros === 0 && e.advice?.replace(/ ?Nothing is billed( for that attempt)?\./, '')}
      </p>
    </Box>
  )
}

const Box = ({ tone, icon, children }: { tone: 'bad' | 'warning' | 'neutral'; icon: ReactNode; children: ReactNode }) => (
  <div
    className={cn(
      'mb-5 flex gap-3 rounded-card p-4 text-sm [&>svg]:mt-0.5 [&>svg]:size-4 [&>svg]:shrink-0',
      tone === 'bad' && 'bg-danger-soft text-danger-text',
      tone === 'warning' && 'bg-warning-soft text-warning-text',
      tone === 'neutral' && 'bg-sunken text-text ring-1 ring-line ring-inset',
    )}
  >
    {icon}
    <div className="min-w-0">{children}</div>
  </div>
)
