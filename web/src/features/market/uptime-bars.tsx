import type { Schemas } from '@/api/client'
import { percent } from '@/lib/format'

const shown = 90
const width = 6 // of a bar and its gap, in the drawing's units

/** A day's share online; undefined is a day that does not count. */
export const shareOf = (d: Schemas['UptimeDay']): number | undefined => (d.of_s > 0 ? Math.min(1, d.online_s / d.of_s) : undefined)

/** How a share is drawn: whole days are calm, bad ones stand out. */
function look(share: number | undefined): string {
  if (share === undefined) return 'fill-line'
  if (share >= 0.99) return 'fill-accent'
  if (share >= 0.9) return 'fill-accent/60'
  return share > 0 ? 'fill-warning-text' : 'fill-danger'
}

/** The last 90 days of a host, a bar a day; the text says the same. */
export function UptimeBars({ uptime }: { uptime: Schemas['Uptime'] }) {
  const days = uptime.days.slice(-shown)
  const missing = shown - days.length
  const worst = days.filter((d) => (shareOf(d) ?? 1) < 0.99).length
  return (
    <figure>
      <svg viewBox={`0 0 ${shown * width - 2} 32`} preserveAspectRatio="none" className="h-8 w-full" aria-hidden>
        {Array.from({ length: missing }, (_, i) => (
          <rect key={i} x={i * width} width={width - 2} height={32} rx={1} className="fill-line/60" />
        ))}
        {days.map((d, i) => (
          <rect key={d.date} x={(missing + i) * width} width={width - 2} height={32} rx={1} className={look(shareOf(d))}>
            <title>{`${d.date}: ${shareOf(d) === undefined ? 'not counted' : percent(shareOf(d) ?? 0)}`}</title>
          </rect>
        ))}
      </svg>
      <figcaption className="mt-1.5 flex justify-between text-[13px] text-muted">
        <span>90 days ago</span>
        <span className="sr-only">
          Online {percent(uptime.ratio)} of {days.length} days, {worst} of them under 99 %.
        </span>
        <span>today</span>
      </figcaption>
    </figure>
  )
}
