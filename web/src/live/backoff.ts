const first = 500 // ms
const longest = 15_000 // ms

/** How long to wait before the next try to connect: up to twice as long after each
 * failure, and anything between half of it and all, so that browsers which lost the
 * same server do not come back together. */
export function backoff(failures: number, random: () => number = Math.random): number {
  const top = Math.min(longest, first * 2 ** failures)
  return top / 2 + (random() * top) / 2
}
