import { keyed, scrolled, type Follow } from './follow'
import { bottom, drawn, height, place, rowHeight, Rows, scrollTo, tallest, type Area, type Shown } from './layout'

/** What is to be laid out. */
export interface Content {
  shown: Shown
  /** Cells before a line wraps; 0 for never. */
  columns: number
  /** Margins around the rows, in px. */
  above: number
  below: number
  /** Whether lines may still come. */
  open: boolean
}

/** What is to be drawn of it. */
export interface Laid {
  rows: Rows
  /** Of the scrolled element, in px. */
  height: number
  /** The lines by their index, the last one excluded. */
  first: number
  last: number
  /** Where a row is drawn, in px. */
  y: (row: number) => number
}

const step = 4 * rowHeight // px of scrolling after which rows are drawn anew

const nothing: Content = { shown: { count: 0, at: () => undefined, key: '', filtered: false }, columns: 0, above: 0, below: 0, open: true }

/** Scrolls through lines of which only those in view are drawn. While it follows, the
 * end stays in view; else the line at the top stays where it is, whatever happens to the
 * lines before it. Drawing is a matter of lay, then of settle once it is on the page. */
export class Viewport {
  /** The inner size of the element, and the width of a cell, in px. */
  width = 0
  view = 0
  cell = 0

  readonly #rows = new Rows()
  #content = nothing
  #key = ''
  #element: HTMLElement | undefined
  #at: Follow
  #place = 0 // in steps
  #anchor = { n: 1, dy: 0 }
  #revealing = 0
  #seen = 0
  #told = '' // what listeners know of where it is
  #version = 0
  readonly #listeners = new Set<() => void>()

  constructor(follow: boolean) {
    this.#at = { on: follow, top: 0 }
  }

  get following(): boolean {
    return this.#at.on
  }

  /** The number of the last line when it still followed. */
  get seen(): number {
    return this.#seen
  }

  /** The number of the line at the top. */
  get top(): number {
    return this.#at.on ? (this.#content.shown.at(this.#rows.at((place(this.#area, this.#at.top) - this.#content.above) / rowHeight))?.n ?? 1) : this.#anchor.n
  }

  subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  version = (): number => this.#version

  /** Belongs to an element from now on, until the answer is called. */
  attach = (element: HTMLElement): (() => void) => {
    this.#element = element
    const stop = new AbortController()
    const { signal } = stop
    element.addEventListener('scroll', this.#scrolled, { signal, passive: true })
    element.addEventListener('wheel', (e) => e.deltaY < 0 && this.#at.top > 0 && this.stop(), { signal, passive: true })
    element.addEventListener('keydown', this.#keyed, { signal })
    // A selection would run away with the lines.
    const select = () => {
      const s = document.getSelection()
      if (s && !s.isCollapsed && element.contains(s.anchorNode)) this.stop()
    }
    document.addEventListener('selectionchange', select, { signal })
    const observer = new ResizeObserver(() => this.#measure())
    observer.observe(element)
    this.#measure()
    return () => {
      stop.abort()
      observer.disconnect()
      this.#element = undefined
    }
  }

  /** Says what is to be drawn. */
  lay(content: Content): Laid {
    this.#content = content
    const rows = this.#rows
    rows.update(content.shown, content.columns)
    const area = this.#area
    const tall = height(area) === tallest
    const end = place(area, bottom(area))
    const y = this.#at.on ? end : Math.min(this.#place, end)
    const [first, last] = drawn(rows, content.shown.count, content.above, y, this.view)
    const shift = tall ? y - (this.#at.on ? bottom(area) : this.#at.top) : 0
    return { rows, height: height(area), first, last, y: (row) => content.above + row * rowHeight - shift }
  }

  /** Puts what was drawn where it belongs. */
  settle(): void {
    const { shown, columns, above } = this.#content
    const key = `${shown.key}/${columns}/${this.view}/${above}`
    const moved = key !== this.#key
    this.#key = key
    if (this.#at.on) {
      const end = bottom(this.#area)
      if (Math.abs(end - this.#at.top) >= 1) this.#scroll(end)
      this.#seen = shown.at(shown.count - 1)?.n ?? 0
    } else if (this.#revealing > 0) this.#tryReveal()
    else if (moved) {
      const { n, dy } = this.#anchor
      const index = indexOf(shown, n)
      const within = shown.at(index)?.n === n ? Math.min(dy, this.#rows.height(index) * rowHeight) : 0
      this.#set(scrollTo(this.#area, above + this.#rows.top(index) * rowHeight + within), false)
      this.#anchor = { n, dy }
    }
  }

  /** Shows a line in the middle, as soon as there is one with this number, and the cells
   * of it that are wanted. As many cells before them all stay where they are. */
  reveal(n: number, fixed = 0, wanted: [from: number, to: number] = [0, 0]): void {
    this.stop()
    this.#revealing = n
    this.#tell()
    const e = this.#element
    if (!e || this.cell === 0) return
    const [left, right] = [(fixed + wanted[0]) * this.cell, (fixed + wanted[1]) * this.cell]
    const inView = left >= e.scrollLeft + fixed * this.cell && right <= e.scrollLeft + this.width
    if (!inView) e.scrollLeft = right <= this.width ? 0 : (left + right) / 2 - (this.width + fixed * this.cell) / 2
  }

  /** Shows the end, and stays there. */
  latest(): void {
    this.#revealing = 0
    this.#set(bottom(this.#area), true)
  }

  /** Stays where it is. */
  stop(): void {
    if (this.#at.on) this.#set(this.#at.top, false)
  }

  get #area(): Area {
    return { rows: this.#rows.total, above: this.#content.above, below: this.#content.below, view: this.view }
  }

  #tryReveal() {
    const { shown, open, above } = this.#content
    const n = this.#revealing
    const index = indexOf(shown, n)
    const found = shown.at(index)?.n
    if (this.view === 0 || found === undefined || (found !== n && (shown.filtered || (open && found < n)))) return
    this.#revealing = 0
    const middle = above + (this.#rows.top(index) + this.#rows.height(index) / 2) * rowHeight
    this.#set(scrollTo(this.#area, middle - this.view / 2), false)
  }

  #scrolled = () => {
    const next = scrolled(this.#at, this.#element?.scrollTop ?? 0, bottom(this.#area))
    if (next === this.#at) return
    this.#at = next
    this.#look()
  }

  #keyed = (e: KeyboardEvent) => {
    if (e.target !== e.currentTarget || e.ctrlKey || e.metaKey || e.altKey) return
    const by = keyed(e.key, this.view, rowHeight)
    if (by === undefined) return
    e.preventDefault()
    if (by === 'bottom') this.latest()
    else if (by === 'top') this.#set(0, false)
    else {
      const end = bottom(this.#area)
      const top = Math.max(0, Math.min(end, this.#at.top + by))
      if (top !== this.#at.top) this.#set(top, by > 0 && top === end)
    }
  }

  #set(top: number, on: boolean) {
    this.#scroll(top)
    this.#at = { on, top: this.#at.top }
    this.#look()
  }

  #scroll(top: number) {
    const e = this.#element
    if (!e) return
    e.scrollTop = top
    this.#at = { on: this.#at.on, top: e.scrollTop }
  }

  /** Notes what is in view. */
  #look() {
    const { shown, above } = this.#content
    const y = place(this.#area, this.#at.top)
    const index = this.#rows.at((y - above) / rowHeight)
    this.#anchor = { n: shown.at(index)?.n ?? 1, dy: y - above - this.#rows.top(index) * rowHeight }
    this.#place = height(this.#area) < tallest ? Math.floor(y / step) * step : y
    const told = `${this.#place}/${this.#at.on}`
    if (told === this.#told) return
    this.#told = told
    this.#tell()
  }

  #measure() {
    const e = this.#element
    if (!e) return
    const pen = document.createElement('canvas').getContext('2d')
    if (pen) pen.font = getComputedStyle(e).font
    const cell = (pen?.measureText('0'.repeat(100)).width ?? 0) / 100
    if (this.width === e.clientWidth && this.view === e.clientHeight && this.cell === cell) return
    this.width = e.clientWidth
    this.view = e.clientHeight
    this.cell = cell
    this.#tell()
  }

  #tell() {
    this.#version++
    for (const listener of this.#listeners) listener()
  }
}

/** The index of a line by its number, or of the next one that is shown, or of the last. */
export function indexOf(shown: Shown, n: number): number {
  let [low, high] = [0, Math.max(0, shown.count - 1)]
  while (low < high) {
    const middle = (low + high) >> 1
    if ((shown.at(middle)?.n ?? 0) < n) low = middle + 1
    else high = middle
  }
  return low
}
