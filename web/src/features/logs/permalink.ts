/** Lines by their numbers, both included. */
export interface Range {
  from: number
  to: number
}

/** The lines that `#L12` or `#L10-L20` names. */
export function parseRange(hash: string): Range | undefined {
  const m = /^#?L(\d{1,9})(?:-L?(\d{1,9}))?$/i.exec(hash.trim())
  if (!m) return undefined
  const a = Number(m[1])
  const b = m[2] === undefined ? a : Number(m[2])
  const range = { from: Math.min(a, b), to: Math.max(a, b) }
  return range.from > 0 ? range : undefined
}

export const formatRange = (r: Range): string => (r.from === r.to ? `#L${r.from}` : `#L${r.from}-L${r.to}`)

/** The lines from the one chosen first to another. */
export const extend = (r: Range | undefined, n: number): Range =>
  r ? { from: Math.min(r.from, n), to: n < r.from ? r.to : n } : { from: n, to: n }
