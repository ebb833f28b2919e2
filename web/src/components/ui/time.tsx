import { ago, dateTime } from '@/lib/format'
import { useNow } from '@/lib/clock'

/** How long ago something was, kept up to date; the exact time on hover. */
export function Ago({ time, className }: { time: string; className?: string }) {
  const at = Date.parse(time)
  const now = useNow(10_000)
  return (
    <time dateTime={time} title={dateTime(at)} className={className}>
      {ago(at, Math.max(now, at))}
    </time>
  )
}

/** How long it is until something, kept up to date; the exact time on hover. */
export function Until({ time }: { time: string }) {
  const at = Date.parse(time)
  const now = useNow(10_000)
  return (
    <time dateTime={time} title={dateTime(at)}>
      {ago(at, Math.min(now, at))}
    </time>
  )
}

/** Date and time where the reader is. */
export const At = ({ time, className }: { time: string; className?: string }) => (
  <time dateTime={time} className={className}>
    {dateTime(Date.parse(time))}
  </time>
)
