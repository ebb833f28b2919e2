/** How the time of a line is shown. */
export type Times = 'off' | 'relative' | 'utc'

/** A line's time: since the first one of the log, or of the day in UTC. */
export function formatTime(at: number, times: Times, began: number): string {
  if (!at || times === 'off') return ''
  if (times === 'utc') return new Date(at).toISOString().slice(11, 23)
  const ms = Math.max(0, Math.round(at - began))
  return `+${part(ms / 3_600_000)}:${part((ms / 60_000) % 60)}:${part((ms / 1000) % 60)}.${part(ms % 1000, 3)}`
}

const part = (n: number, digits = 2) => String(Math.floor(n)).padStart(digits, '0')
