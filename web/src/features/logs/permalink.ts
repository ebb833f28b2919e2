/** Lines by their numbers, both included. */
export interface Range {
  /** Whose log they are in, if the address says so. */
  attempt?: number
  from: number
  to: number
}

/** The lines that `#L12`, `#L10-L20` or, in the log of the second attempt, `#A2-L12` names. */
export function parseRange(hash: string): Range | undefined {
  const m = /^#?(?:A(\d{1,4})-)?L(\d{1,9})(?:-L?(\d{1,9}))?$/i.exec(hash.trim())
  if (!m) return undefined
  const a = Number(m[2])
  const b = m[3] === undefined ? a : Number(m[3])
  const range = { from: Math.min(a, b), to: Math.max(a, b), ...(m[1] ? { attempt: Number(m[1]) } : {}) }
  return range.from > 0 ? range : undefined
}

export const formatRange = (r: Range): string => `#${r.attempt ? `A${r.attempt}-` : ''}L${r.from}${r.from === r.to ? '' : `-L${r.to}`}`

/** The lines from the one chosen first to another. */
export const extend = (r: Range | undefined, n: number): Range =>
  r ? { from: Math.min(r.from, n), to: n < r.from ? r.to : n } : { from: n, to: n }
