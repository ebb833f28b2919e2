import type { Schemas } from '@/api/client'
import { useNow } from '@/lib/clock'
import { duration, money } from '@/lib/format'

type Job = Pick<Schemas['Job'], 'cost_micros' | 'billable_ms' | 'hourly_price_micros' | 'started_at' | 'exited_at' | 'as_of' | 'currency' | 'state' | 'limits'>

/** When the server's `as_of` was heard, by our clock: clocks differ, their pace does not. */
const heard = new Map<string, number>()
const mostHeard = 500

function since(asOf: string): number {
  let at = heard.get(asOf)
  if (at === undefined) {
    if (heard.size > mostHeard) heard.clear()
    at = Date.now()
    heard.set(asOf, at)
  }
  return at
}

/** Whether the clock of the bill runs. */
export const billing = (job: Job): boolean => job.started_at !== undefined && job.exited_at === undefined && job.state === 'running'

/** What a job costs at a moment: what the server worked out, and what came since. It
 * never exceeds what the limits allow. */
export function costAt(job: Job, now: number): { micros: number; ms: number } {
  const known = { micros: job.cost_micros, ms: job.billable_ms ?? 0 }
  if (!billing(job)) return known
  const more = Math.max(0, now - since(job.as_of))
  const ms = Math.min(known.ms + more, (job.limits.max_runtime_s ?? Infinity) * 1000)
  const micros = known.micros + Math.floor(((job.hourly_price_micros ?? 0) * (ms - known.ms)) / 3_600_000)
  return { micros: Math.min(micros, job.limits.max_cost_micros ?? Infinity), ms }
}

/** What a job costs, ticking while it runs. */
export function Cost({ job }: { job: Job }) {
  const now = useNow()
  return <span className="num whitespace-nowrap">{money(costAt(job, now).micros, job.currency)}</span>
}

/** How long its command ran, ticking while it does. */
export function Runtime({ job }: { job: Job }) {
  const now = useNow()
  const { ms } = costAt(job, now)
  if (!job.started_at) return <span className="text-muted">–</span>
  return <span className="num whitespace-nowrap">{duration(billing(job) ? Math.floor(ms / 1000) * 1000 : ms)}</span>
}
