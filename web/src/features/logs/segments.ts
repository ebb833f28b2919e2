import type { Line } from './parser'
import { plain, type Style } from './style'

/** A run of a line's text that looks alike. */
export interface Segment {
  text: string
  style: Style
  hit: boolean
}

/** A line cut into runs by its styles and by what a pattern finds in it. */
export function segments(line: Line, pattern?: RegExp): Segment[] {
  const cuts = new Map<number, Style>([[0, plain]])
  for (const s of line.spans ?? []) cuts.set(s.at, s.style)
  const hits: [number, number][] = []
  if (pattern) for (const m of line.text.matchAll(pattern)) hits.push([m.index, m.index + m[0].length])
  if (cuts.size === 1 && hits.length === 0) return line.text ? [{ text: line.text, style: cuts.get(0) ?? plain, hit: false }] : []

  const edges = [...new Set([...cuts.keys(), ...hits.flat(), line.text.length])].toSorted((a, b) => a - b)
  const made: Segment[] = []
  let style: Style = plain
  let h = 0
  for (let i = 0; i + 1 < edges.length; i++) {
    const [start, end] = [edges[i] as number, edges[i + 1] as number]
    style = cuts.get(start) ?? style
    while (h < hits.length && (hits[h]?.[1] ?? 0) <= start) h++
    made.push({ text: line.text.slice(start, end), style, hit: (hits[h]?.[0] ?? Infinity) <= start })
  }
  return made
}
