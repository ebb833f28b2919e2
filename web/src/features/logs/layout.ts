import { rowCount } from './cells'
import type { Line } from './parser'
import { from } from './search'

/** The lines that are to be seen, of which only the last one still changes. */
export interface Shown {
  readonly count: number
  at(index: number): Line | undefined
  /** Changes where lines other than the last did. */
  readonly key: string
  /** Whether these are not all lines. */
  readonly filtered: boolean
}

export const rowHeight = 20 // px

/** The height that browsers can lay out, with room to spare: Firefox ends below 18
 * million px. Beyond it, scrolling is translated. */
export const tallest = 15_000_000 // px

/** What stands after the text of a line that was too long. */
export const overText = (over: number): string => (over > 0 ? ` … ${over.toLocaleString('en-US')} more characters: download the log` : '')

/** Which row each line begins on. Without wrapping that is its index; with it, rows are
 * counted from the cells of a monospaced grid and summed up. */
export class Rows {
  #shown: Shown | undefined
  #columns = 0
  #ends: number[] = [] // rows up to and with each line

  /** Takes news: columns is 0 where lines do not wrap. */
  update(shown: Shown, columns: number): void {
    if (shown.key !== this.#shown?.key || columns !== this.#columns || columns === 0) this.#ends = []
    this.#shown = shown
    this.#columns = columns
    if (columns === 0) return
    const ends = this.#ends
    ends.length = Math.max(0, Math.min(ends.length, shown.count) - 1)
    let sum = ends[ends.length - 1] ?? 0
    for (let i = ends.length; i < shown.count; i++) {
      sum += this.height(i)
      ends.push(sum)
    }
  }

  /** All rows. */
  get total(): number {
    return this.top(this.#shown?.count ?? 0)
  }

  /** The row that the line at an index begins on. */
  top(index: number): number {
    if (this.#columns === 0) return index
    return index > 0 ? (this.#ends[Math.min(index, this.#ends.length) - 1] ?? 0) : 0
  }

  /** How many rows the line at an index takes. */
  height(index: number): number {
    const line = this.#shown?.at(index)
    if (this.#columns === 0 || !line) return 1
    const more = overText(line.over)
    return more ? rowCount(line.text + more, line.cells + more.length, this.#columns) : rowCount(line.text, line.cells, this.#columns)
  }

  /** The index of the line that a row belongs to. */
  at(row: number): number {
    const count = this.#shown?.count ?? 0
    const index = this.#columns === 0 ? Math.floor(row) : from(this.#ends, Math.floor(row) + 1)
    return Math.max(0, Math.min(count - 1, index))
  }
}

/** Where things stand in the scrolled area: margins above and below the rows, in px. */
export interface Area {
  rows: number
  above: number
  below: number
  view: number
}

/** The height of the scrolled element. */
export const height = (a: Area): number => Math.min(tallest, full(a))

/** The scroll position that shows the end. */
export const bottom = (a: Area): number => Math.max(0, height(a) - a.view)

/** Where a scroll position is in an area that could be as high as it has to be. */
export function place(a: Area, scrollTop: number): number {
  return scrollTop * stretch(a)
}

/** The scroll position that shows a place at the top of the view, as near as possible. */
export function scrollTo(a: Area, y: number): number {
  return Math.max(0, Math.min(bottom(a), y / stretch(a)))
}

const full = (a: Area) => a.above + a.rows * rowHeight + a.below

const stretch = (a: Area) => (full(a) <= tallest ? 1 : (full(a) - a.view) / (tallest - a.view))

/** The lines to draw for a place: those in view and a few more on either side, in steps,
 * so that not every pixel of scrolling draws anew. */
export function drawn(rows: Rows, count: number, above: number, y: number, view: number): [first: number, end: number] {
  if (count === 0) return [0, 0]
  const row = Math.floor((y - above) / rowHeight / step) * step
  const last = row + Math.ceil(view / rowHeight) + step
  return [rows.at(Math.max(0, row - spare)), Math.min(count, rows.at(Math.max(0, last + spare)) + 1)]
}

const step = 4 // rows
const spare = 4 // rows
