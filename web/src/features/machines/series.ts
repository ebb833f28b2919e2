import type { Schemas } from '@/api/client'

type Sample = Schemas['LoadSample']

const window = 10 * 60_000 // ms that the server keeps, and we too

/** Adds a sample to those of a GPU and forgets what is too old. A sample that is known
 * already changes nothing. */
export function add(samples: Sample[], next: Sample): Sample[] {
  const at = Date.parse(next.time)
  const last = samples[samples.length - 1]
  if (last && Date.parse(last.time) >= at) return samples
  return [...samples.filter((s) => at - Date.parse(s.time) <= window), next]
}

/** The path of a line through the samples in a box, time from left to right: the latest
 * at the right edge. */
export function path(samples: Sample[], value: (s: Sample) => number | undefined, most: number, width: number, height: number): string {
  const last = samples[samples.length - 1]
  if (!last) return ''
  const end = Date.parse(last.time)
  let d = ''
  for (const s of samples) {
    const v = value(s)
    if (v === undefined) continue
    const x = width - ((end - Date.parse(s.time)) / window) * width
    const y = height - (Math.min(most, Math.max(0, v)) / most) * (height - 2) - 1
    d += `${d ? 'L' : 'M'}${x.toFixed(1)} ${y.toFixed(1)}`
  }
  return d
}
