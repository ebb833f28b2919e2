import { LineParser, type Line } from './parser'

/** How many lines are kept for the viewer, and characters in them all. */
export const limits = { lines: 200_000, characters: 64 << 20 }

/** What became of a batch: it was `taken`, at least in part; it was `known` already; or
 * there is a `gap` before it, and nothing of it was taken. */
export type Taken = 'taken' | 'known' | 'gap'

/** Sees every byte that a store took, once and in order. For tests that compare it with
 * the stored log. */
export interface LogTap {
  bytes(attempt: number, offset: number, data: Uint8Array): void
}

const header = 16 // bytes: offset and time

/** The log of one attempt, as lines, outside of React: it tells its listeners about news
 * once a frame. */
export class LogStore {
  /** The attempt that the bytes belong to; 0 before it is known. */
  attempt = 0
  /** Bytes taken, which is the offset of the next one. */
  received = 0
  /** Whether nothing more will come. */
  complete = false
  /** The first time that is known, in milliseconds; 0 before there is one. */
  began = 0
  /** Grows whenever everything was forgotten. */
  epoch = 0

  #lines: Line[] = []
  #characters = 0
  #widest = 0
  #tail: Line | undefined
  #dropped = 0
  #parser = new LineParser()
  #decoder = newDecoder()
  #version = 0
  #scheduled = false
  readonly #listeners = new Set<() => void>()
  readonly #tap: LogTap | undefined
  readonly #limits: typeof limits
  readonly #schedule: (task: () => void) => void

  constructor(options: { tap?: LogTap | undefined; limits?: typeof limits; schedule?: (task: () => void) => void } = {}) {
    this.#tap = options.tap
    this.#limits = options.limits ?? limits
    this.#schedule = options.schedule ?? nextFrame
  }

  /** How many lines there are to see. */
  get count(): number {
    return this.#lines.length + (this.#parser.begun ? 1 : 0)
  }

  /** How many of them will not change any more. */
  get finished(): number {
    return this.#lines.length
  }

  /** How many were dropped before them. */
  get dropped(): number {
    return this.#dropped
  }

  /** The number of the latest line. */
  get last(): number {
    return this.#dropped + this.count
  }

  /** The most cells that a line took so far. */
  get widest(): number {
    return Math.max(this.#widest, this.at(this.finished)?.cells ?? 0)
  }

  /** The line at an index of those that there are to see. */
  at(index: number): Line | undefined {
    if (index !== this.#lines.length || !this.#parser.begun) return this.#lines[index]
    this.#tail ??= this.#parser.tail()
    return this.#tail
  }

  /** The line with a number. */
  line(n: number): Line | undefined {
    return this.at(n - this.#dropped - 1)
  }

  /** Takes a frame of the job's WebSocket: 8 bytes offset, 8 bytes time in microseconds
   * (0: not known), both big-endian, then the bytes. */
  frame(frame: Uint8Array): Taken {
    const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength)
    const offset = Number(view.getBigUint64(0))
    const at = Number(view.getBigUint64(8)) / 1000
    return this.append(offset, at, frame.subarray(header))
  }

  /** Takes bytes from an offset on; at is their time in milliseconds, 0 if it is not known. */
  append(offset: number, at: number, data: Uint8Array): Taken {
    if (offset > this.received) return 'gap'
    const news = offset < this.received ? data.subarray(this.received - offset) : data
    if (news.length === 0) return 'known'
    this.#tap?.bytes(this.attempt, this.received, news)
    this.received += news.length
    this.began ||= at
    this.#read(this.#decoder.decode(news, { stream: true }), at)
    return 'taken'
  }

  /** Forgets everything: another attempt begins. */
  reset(attempt: number): void {
    this.attempt = attempt
    this.received = 0
    this.complete = false
    this.began = 0
    this.#widest = 0
    this.epoch++
    this.#lines = []
    this.#characters = 0
    this.#tail = undefined
    this.#dropped = 0
    this.#parser = new LineParser()
    this.#decoder = newDecoder()
    this.#changed()
  }

  /** Nothing more will come. */
  end(): void {
    if (this.complete) return
    this.complete = true
    this.#read(this.#decoder.decode(), 0)
    this.#changed()
  }

  subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  /** Changes with every notification, for useSyncExternalStore. */
  version = (): number => this.#version

  #read(text: string, at: number) {
    if (!text) return
    this.#parser.read(text, at, this.#push)
    this.#tail = undefined
    this.#changed()
  }

  #push = (line: Line) => {
    this.#lines.push(line)
    this.#characters += line.text.length
    this.#widest = Math.max(this.#widest, line.cells)
    while (this.#lines.length > this.#limits.lines || (this.#characters > this.#limits.characters && this.#lines.length > 1)) this.#drop()
  }

  /** Drops a tenth, so that it does not have to be done for every line. */
  #drop() {
    const gone = this.#lines.splice(0, Math.ceil(this.#lines.length / 10))
    for (const line of gone) this.#characters -= line.text.length
    this.#dropped += gone.length
  }

  #changed() {
    if (this.#scheduled) return
    this.#scheduled = true
    this.#schedule(() => {
      this.#scheduled = false
      this.#version++
      for (const listener of this.#listeners) listener()
    })
  }
}

const newDecoder = () => new TextDecoder()

const unseen = 250 // ms between notifications of a page that nobody sees

/** Frames stand still while a page is hidden, and what the page computes must not. */
function nextFrame(task: () => void) {
  if (document.hidden) setTimeout(task, unseen)
  else requestAnimationFrame(task)
}
