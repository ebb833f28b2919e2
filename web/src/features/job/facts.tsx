import { Link } from '@tanstack/react-router'
import type { ReactNode } from 'react'
import type { Schemas } from '@/api/client'
import { Card } from '@/components/ui/card'
import { Money } from '@/components/ui/money'
import { useNow } from '@/lib/clock'
import { bytes, duration, exactMoney } from '@/lib/format'
import { billing, costAt, Runtime } from '../jobs/cost'
import { gpusOf } from '../jobs/gpus'
import { ended } from '../jobs/rerun'

type Job = Schemas['Job']

/** What a job costs and where it runs, ticking while it does. */
export function Facts({ job }: { job: Job }) {
  const now = useNow()
  const { micros } = costAt(job, now)
  const live = billing(job)
  const atLimit = job.hourly_price_micros !== undefined && job.limits.max_runtime_s ? Math.floor((job.hourly_price_micros * job.limits.max_runtime_s) / 3600) : undefined
  const most = Math.min(atLimit ?? Infinity, job.limits.max_cost_micros ?? Infinity)
  return (
    <Card className="p-4 sm:p-5" aria-label="Cost and host">
      <p className="text-[13px] text-muted">{live ? 'Cost so far' : 'Cost'}</p>
      <p className="num text-[1.75rem] leading-tight font-semibold tracking-tight" data-testid="cost">
        {exactMoney(micros, job.currency)}
      </p>
      {live && Number.isFinite(most) && (
        <p className="num text-[13px] text-muted">
          at most <Money micros={most} currency={job.currency} /> at its limit
        </p>
      )}
      <dl className="mt-4 grid gap-2 text-sm">
        <Fact term="Ran">
          <Runtime job={job} />
        </Fact>
        {job.phase && job.phase.total > 0 && !live && (
          <Fact term={job.phase.name}>
            {bytes(job.phase.done)} of {bytes(job.phase.total)}
          </Fact>
        )}
        {job.hold_micros > 0 && (
          <Fact term="Held">
            <Money micros={job.hold_micros} currency={job.currency} />
          </Fact>
        )}
        {job.hourly_price_micros !== undefined && (
          <Fact term="Price">
            <Money micros={job.hourly_price_micros} currency={job.currency} />
            /h
          </Fact>
        )}
        <Fact term="Host">
          {job.host ? (
            <Link to="/hosts/$id" params={{ id: job.host.id }} className="underline underline-offset-4">
              {job.host.name}
            </Link>
          ) : (
            <span className="text-muted">{ended(job) ? 'none' : 'none yet'}</span>
          )}
        </Fact>
        <Fact term="GPU">{gpusOf(job)}</Fact>
        {job.limits.max_runtime_s && <Fact term="Time limit">{duration(job.limits.max_runtime_s * 1000)}</Fact>}
        {job.exit_code !== undefined && <Fact term="Exit code">{job.exit_code}</Fact>}
      </dl>
    </Card>
  )
}

const Fact = ({ term, children }: { term: string; children: ReactNode }) => (
  <div className="flex justify-between gap-4">
    <dt className="text-muted">{term}</dt>
    <dd className="num min-w-0 text-right break-words">{children}</dd>
  </div>
)
