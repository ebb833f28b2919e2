import { useEffect, useState } from 'react'
import { keepPreviousData } from '@tanstack/react-query'
import { query, type Schemas } from '@/api/client'
import { asApiError } from '@/api/problem'
import { Button } from '@/components/ui/button'
import { Money } from '@/components/ui/money'
import { Skeleton } from '@/components/ui/skeleton'
import { cn } from '@/lib/cn'
import { count, duration, moneyRange } from '@/lib/format'
import { sentence } from '@/lib/sentence'
import { keeps } from '../jobs/words'
import type { Values } from './values'

const pause = 300 // ms without typing, before the server is asked

/** A value that follows another one when that has rested. */
function useRested<T>(value: T, key: string): T {
  const [rested, setRested] = useState(value)
  useEffect(() => {
    const timer = setTimeout(() => setRested(value), pause)
    return () => clearTimeout(timer)
    // The key is the value, for who compares.
    // oxlint-disable-next-line react-hooks/exhaustive-deps
  }, [key])
  return rested
}

/** What the server needs to plan a job. */
type Plan = Pick<Schemas['JobRequest'], 'needs' | 'limits' | 'host_id' | 'source' | 'image' | 'network'>

/** The plan of the job that is in the form, renewed as one types. */
export function useEstimate(body: Plan) {
  const plan: Plan = {
    ...(body.needs ? { needs: body.needs } : {}), ...(body.limits ? { limits: body.limits } : {}),
    ...(body.host_id ? { host_id: body.host_id } : {}), ...(body.source ? { source: body.source } : {}),
    ...(body.image ? { image: body.image } : {}), ...(body.network ? { network: body.network } : {}),
  }
  const rested = useRested(plan, JSON.stringify(plan))
  return query.useQuery('post', '/api/jobs/estimate', { body: rested }, { placeholderData: keepPreviousData, staleTime: 5000, refetchInterval: 15_000 })
}

/** What each constraint gives way to with one click. */
const relaxations: Partial<Record<string, { field: keyof Values; label: string }>> = {
  price: { field: 'maxPrice', label: 'Drop the highest price' },
  gpu_model: { field: 'model', label: 'Take any model' },
  vram: { field: 'vram', label: 'Take any GPU memory' },
  region: { field: 'region', label: 'Take any region' },
  tags: { field: 'tags', label: 'Drop the tags' },
  cpus: { field: 'cpus', label: 'Take any CPU' },
  memory: { field: 'memory', label: 'Take any memory' },
  disk: { field: 'disk', label: 'Take any disk' },
  host_id: { field: 'host', label: 'Take any host' },
  verified: { field: 'verified', label: 'Take unverified hosts' },
  isolation: { field: 'isolation', label: 'Take any isolation' },
}

/** What the job will need in money and time, before either is spent. */
export function EstimatePanel({
  estimate,
  error,
  stale,
  values,
  relax,
  onTopUp,
}: {
  estimate: Schemas['Estimate'] | undefined
  error: unknown
  stale: boolean
  values: Values
  relax: (field: keyof Values) => void
  onTopUp: (missing: number) => void
}) {
  if (!estimate) {
    return error ? (
      <p className="text-sm text-danger-text">{sentence(asApiError(error).message)}</p>
    ) : (
      <div className="grid gap-3">
        <Skeleton className="h-9 w-32" />
        <Skeleton className="h-4 w-full" />
        <Skeleton className="h-4 w-2/3" />
      </div>
    )
  }
  const { currency } = estimate
  const short = estimate.hold_micros !== undefined && estimate.credit_micros !== undefined && estimate.hold_micros > estimate.credit_micros
  const excluded = estimate.exclusions.filter((e) => e.hosts > 0).toSorted((a, b) => b.hosts - a.hosts)
  return (
    <div className={cn('grid gap-4', stale && 'stale')} aria-busy={stale}>
      <output className="block">
        {estimate.hosts_fitting > 0 ? (
          <>
            <span className="text-[1.75rem] leading-none font-semibold tracking-tight">{count(estimate.hosts_fitting)}</span>{' '}
            <span className="text-sm text-muted">{estimate.hosts_fitting === 1 ? 'host can start it now' : 'hosts can start it now'}</span>
          </>
        ) : (
          <>
            <span className="block font-medium">{estimate.hosts === 0 ? 'No host is connected' : 'No host can start it now'}</span>
            <span className="text-sm text-muted">It would wait in the queue, at no cost, until one can.</span>
          </>
        )}
      </output>
      <dl className="grid gap-1.5 text-sm">
        {estimate.min_price_micros !== undefined && estimate.max_price_micros !== undefined && (
          <Line term="GPU-hour">
            {moneyRange(estimate.min_price_micros, estimate.max_price_micros, currency)}
          </Line>
        )}
        {estimate.expected_cost_micros !== undefined && (
          <Line term="Expected cost">
            <Money micros={estimate.expected_cost_micros} currency={currency} />
          </Line>
        )}
        <Line term="Held until it ends">
          {estimate.hold_micros === undefined ? <span className="text-muted">set a highest price or cost</span> : <Money micros={estimate.hold_micros} currency={currency} />}
        </Line>
        {estimate.credit_micros !== undefined && (
          <Line term="Your credit">
            <Money micros={estimate.credit_micros} currency={currency} />
          </Line>
        )}
        {estimate.expected_wait_s !== undefined && estimate.hosts_fitting === 0 && (
          <Line term="Wait">{estimate.expected_wait_s === 0 ? 'none' : duration(estimate.expected_wait_s * 1000)}</Line>
        )}
      </dl>
      {short && (
        <div className="rounded-lg bg-warning-soft p-3 text-sm text-warning-text">
          <p>
            <Money micros={(estimate.hold_micros ?? 0) - (estimate.credit_micros ?? 0)} currency={currency} /> of credit is missing.
          </p>
          <Button variant="secondary" size="small" className="mt-2" onClick={() => onTopUp((estimate.hold_micros ?? 0) - (estimate.credit_micros ?? 0))}>
            Add credit
          </Button>
        </div>
      )}
      {excluded.length > 0 && (
        <div>
          <h3 className="text-[13px] font-medium">{estimate.hosts_fitting > 0 ? 'Why other hosts cannot' : 'Why none can'}</h3>
          <ul className="mt-1.5 grid gap-1.5 text-[13px] text-muted">
            {excluded.map((e) => {
              const way = relaxations[e.constraint]
              return (
                <li key={e.constraint} className="flex flex-wrap items-baseline justify-between gap-x-3">
                  <span>
                    <span className="num font-medium text-text">{count(e.hosts)}</span> {keeps(e.constraint, e.hosts)}
                  </span>
                  {way && values[way.field] !== '' && (
                    <Button variant="link" size="inline" onClick={() => relax(way.field)}>
                      {way.label}
                    </Button>
                  )}
                </li>
              )
            })}
          </ul>
        </div>
      )}
      <p className="text-[13px] text-muted">Only the time your command runs is billed. Fetching, starting and uploading are free.</p>
    </div>
  )
}

const Line = ({ term, children }: { term: string; children: React.ReactNode }) => (
  <div className="flex justify-between gap-4">
    <dt className="text-muted">{term}</dt>
    <dd className="num text-right font-medium">{children}</dd>
  </div>
)
