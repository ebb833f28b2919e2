import type { Schemas } from '@/api/client'
import { mebibytes } from '@/lib/format'
import { path } from './series'

type Sample = Schemas['LoadSample']

/** What a GPU does now, and a line of the last ten minutes. */
export function GPULoad({ samples, vram }: { samples: Sample[]; vram: number }) {
  const last = samples[samples.length - 1]
  if (!last) return 'no load heard yet'
  return (
    <div className="flex items-center gap-3">
      <svg viewBox="0 0 120 24" className="h-6 w-24 shrink-0 text-accent-text max-sm:w-16" aria-hidden>
        <path d="M0 23.5H120" className="stroke-line" vectorEffect="non-scaling-stroke" />
        <path d={path(samples, (s) => s.utilization_percent, 100, 120, 24)} fill="none" stroke="currentColor" strokeWidth="1.5" strokeLinejoin="round" vectorEffect="non-scaling-stroke" />
      </svg>
      <dl className="num grid grid-cols-[3rem_auto] gap-x-3 lg:grid-cols-[3rem_9.5rem_3rem_auto]">
        <Now term="Utilisation">{last.utilization_percent} %</Now>
        <Now term="Memory">
          {mebibytes(last.memory_used_mb)} of {mebibytes(vram)}
        </Now>
        {last.temperature_c !== undefined && <Now term="Temperature">{last.temperature_c} °C</Now>}
        {last.power_w !== undefined && <Now term="Power">{last.power_w} W</Now>}
      </dl>
    </div>
  )
}

const Now = ({ term, children }: { term: string; children: React.ReactNode }) => (
  <div className="whitespace-nowrap">
    <dt className="sr-only">{term}</dt>
    <dd>{children}</dd>
  </div>
)
