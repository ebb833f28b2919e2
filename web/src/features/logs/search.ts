import type { LogStore } from './store'

/** What is looked for in a log. */
export interface Query {
  text: string
  caseSensitive: boolean
}

const slice = 6 // ms of one go
const between = 256 // lines between two looks at the clock

/** A pattern of the text, to be used with exec or matchAll; undefined for no text. */
export function pattern(query: Query): RegExp | undefined {
  if (!query.text) return undefined
  return new RegExp(query.text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&'), query.caseSensitive ? 'g' : 'gi')
}

/** Finds the lines of a store that contain a text. It works in slices, so that the page
 * stays quick, and from then on looks at new lines alone. */
export class Search {
  readonly #store: LogStore
  readonly #env: { now: () => number; later: (task: () => void) => void }
  readonly #listeners = new Set<() => void>()
  #pattern: RegExp | undefined
  #hits: number[] = []
  #next = 1 // number of the first line that was not looked at
  #tail = 0 // number of the unfinished line, if it is the last hit
  #epoch = 0
  #version = 0
  #turn = 0
  #scheduled = false
  #stop: (() => void) | undefined

  constructor(store: LogStore, env: { now: () => number; later: (task: () => void) => void } = browser) {
    this.#store = store
    this.#env = env
  }

  /** Looks for something else; for nothing if there is no text. */
  find(query: Query): void {
    this.#pattern = pattern(query)
    this.#hits = []
    this.#tail = 0
    this.#epoch = this.#store.epoch
    this.#next = this.#store.dropped + 1
    this.#turn++
    this.#scheduled = false
    if (this.#pattern) {
      this.#stop ??= this.#store.subscribe(() => this.#work())
      this.#work()
    } else {
      this.#stop?.()
      this.#stop = undefined
      this.#tell()
    }
  }

  /** What it looks for. */
  get pattern(): RegExp | undefined {
    return this.#pattern
  }

  /** The numbers of the lines found so far, ascending. */
  get hits(): readonly number[] {
    return this.#hits
  }

  /** Whether all lines that there are were looked at. */
  get done(): boolean {
    return this.#next > this.#store.dropped + this.#store.finished
  }

  subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  version = (): number => this.#version

  #work() {
    if (this.#scheduled || !this.#pattern) return
    this.#catchUp()
    const began = this.#env.now()
    const end = this.#store.dropped + this.#store.finished
    while (this.#next <= end) {
      const stop = Math.min(end, this.#next + between - 1)
      for (; this.#next <= stop; this.#next++) if (this.#matches(this.#next)) this.#hits.push(this.#next)
      if (this.#env.now() - began >= slice) break
    }
    if (this.done) this.#look()
    else {
      this.#scheduled = true
      const turn = this.#turn
      this.#env.later(() => {
        if (turn !== this.#turn) return
        this.#scheduled = false
        this.#work()
      })
    }
    this.#tell()
  }

  #tell() {
    this.#version++
    for (const listener of this.#listeners) listener()
  }

  /** Forgets what the store has dropped, or replaced. */
  #catchUp() {
    if (this.#tail > 0) this.#hits.pop()
    this.#tail = 0
    const first = this.#store.dropped + 1
    if (this.#epoch !== this.#store.epoch) {
      this.#epoch = this.#store.epoch
      this.#hits = []
      this.#next = first
    } else if (this.#next < first || (this.#hits[0] ?? first) < first) {
      this.#hits = this.#hits.slice(from(this.#hits, first))
      this.#next = Math.max(this.#next, first)
    }
  }

  /** The unfinished line is looked at again each time. */
  #look() {
    if (this.#store.count === this.#store.finished || !this.#matches(this.#store.last)) return
    this.#tail = this.#store.last
    this.#hits.push(this.#tail)
  }

  #matches(n: number): boolean {
    const p = this.#pattern
    if (!p) return false
    p.lastIndex = 0
    return p.test(this.#store.line(n)?.text ?? '')
  }
}

/** The index of the first of ascending numbers that is not below n. */
export function from(ascending: readonly number[], n: number): number {
  let [low, high] = [0, ascending.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if ((ascending[middle] as number) < n) low = middle + 1
    else high = middle
  }
  return low
}

const browser = {
  now: () => performance.now(),
  later: (task: () => void) => void setTimeout(task),
}
