import { cells } from './cells'
import { plain, sgr, type Style } from './style'

/** Text from an index on has this style, up to the next span. */
export interface Span {
  readonly at: number
  readonly style: Style
}

/** A line of a log as it is shown. Instances are never changed. */
export interface Line {
  /** Its number, from 1. */
  readonly n: number
  /** What is left to read: no escape sequence, no control character, tabs as spaces. */
  readonly text: string
  /** Its styles; absent where all of it is plain. */
  readonly spans: readonly Span[] | undefined
  /** When its beginning came, in milliseconds since 1970; 0 where that is not known. */
  readonly at: number
  /** How many cells of a monospaced grid it takes. */
  readonly cells: number
  /** UTF-16 units that it has beyond the cap. */
  readonly over: number
}

/** What is shown of one line, in UTF-16 units. The log itself has no such limit. */
export const lineCap = 16 << 10

// Controls, and what would turn the reading direction, break lines or hide: soft hyphen,
// bidi marks, embeddings, overrides and isolates, line and paragraph separators, BOM.
// eslint-disable-next-line no-control-regex
const special = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g

const longestParams = 256

type State = 'text' | 'escape' | 'intermediate' | 'csi' | 'string' | 'string-escape'

/** Makes lines of a stream of text. It keeps SGR styles, lets a lone carriage return
 * start its line anew, and drops every other control sequence whole. Where the stream
 * is cut into pieces makes no difference. */
export class LineParser {
  #state: State = 'text'
  #params = ''
  #style = plain
  #text = ''
  #spans: Span[] | undefined
  #cells = 0
  #over = 0
  #at = 0
  #timed = false
  #returned = false
  #n: number

  /** The first line gets the number n. */
  constructor(n = 1) {
    this.#n = n
  }

  /** Reads on; at is the time of what is read. Each finished line goes to done. */
  read(chunk: string, at: number, done: (line: Line) => void): void {
    let i = 0
    while (i < chunk.length) {
      if (!this.#timed) {
        this.#timed = true
        this.#at = at
      }
      if (this.#state === 'text') {
        special.lastIndex = i
        const found = special.exec(chunk)
        const end = found ? found.index : chunk.length
        if (end > i) this.#write(i === 0 && end === chunk.length ? chunk : chunk.slice(i, end))
        i = end
        if (i === chunk.length) return
      }
      const outcome = this.#control(chunk.charCodeAt(i), chunk.charAt(i))
      if (outcome === 'line') done(this.#finish())
      if (outcome !== 'again') i++
    }
  }

  /** Whether there is something to see of a line that is not finished. */
  get begun(): boolean {
    return this.#text !== ''
  }

  /** That line. */
  tail(): Line {
    return this.#line()
  }

  /** Takes one character that is no plain text here. `again`: it ended a sequence that
   * it is no part of, and is still to be read. */
  #control(code: number, char: string): 'taken' | 'again' | 'line' {
    if (code === 0x0a) {
      this.#state = 'text' // a sequence that nobody ended does not swallow the next line
      return 'line'
    }
    switch (this.#state) {
      case 'text':
        this.#single(code)
        return 'taken'
      case 'escape':
        return this.#escape(code)
      case 'intermediate':
        if (code >= 0x20 && code <= 0x2f) return 'taken'
        this.#state = 'text'
        return code >= 0x30 && code <= 0x7e ? 'taken' : 'again'
      case 'csi':
        return this.#csi(code, char)
      case 'string':
        if (code === 0x1b) this.#state = 'string-escape'
        else if (code === 0x07 || code === 0x9c || code === 0x18 || code === 0x1a) this.#state = 'text'
        return 'taken'
      case 'string-escape':
        if (code !== 0x5c) return this.#escape(code)
        this.#state = 'text'
        return 'taken'
    }
  }

  #single(code: number) {
    if (code === 0x1b) this.#state = 'escape'
    else if (code === 0x0d) this.#returned = true
    else if (code === 0x09) this.#write(' '.repeat(8 - ((this.#returned ? 0 : this.#text.length) % 8)))
    else if (code === 0x9b) this.#begin()
    else if (code === 0x90 || code === 0x98 || (code >= 0x9d && code <= 0x9f)) this.#state = 'string'
  }

  #escape(code: number): 'taken' | 'again' {
    if (code === 0x5b) this.#begin()
    else if (code === 0x5d || code === 0x50 || code === 0x58 || code === 0x5e || code === 0x5f) this.#state = 'string'
    else if (code >= 0x20 && code <= 0x2f) this.#state = 'intermediate'
    else {
      this.#state = 'text'
      return code >= 0x30 && code <= 0x7e ? 'taken' : 'again'
    }
    return 'taken'
  }

  #begin() {
    this.#state = 'csi'
    this.#params = ''
  }

  #csi(code: number, char: string): 'taken' | 'again' {
    if (code >= 0x20 && code <= 0x3f) {
      if (this.#params.length < longestParams) this.#params += char
      return 'taken'
    }
    this.#state = 'text'
    if (code < 0x40 || code > 0x7e) return 'again'
    if (char === 'm' && /^[\d;:]*$/.test(this.#params) && this.#params.length < longestParams) {
      this.#style = sgr(this.#style, this.#params)
    } else if ((char === 'G' && /^[01]?$/.test(this.#params)) || (char === 'K' && this.#params === '2')) {
      this.#returned = true // to the first column, or the line erased: what progress bars do instead of a CR
    }
    return 'taken'
  }

  #write(run: string) {
    if (this.#returned) this.#clear()
    if (this.#over > 0) {
      this.#over += run.length
      return
    }
    const before = this.#text.length
    const last = this.#spans ? this.#spans[this.#spans.length - 1]?.style : plain
    if (this.#style !== last) {
      this.#spans ??= []
      this.#spans.push({ at: before, style: this.#style })
    }
    if (before + run.length > lineCap) {
      let room = lineCap - before
      if (room > 0 && isHigh(run.charCodeAt(room - 1))) room--
      this.#over = run.length - room
      run = run.slice(0, room)
    }
    this.#text = before === 0 ? run : this.#text + run
    this.#cells += cells(run)
  }

  #clear() {
    this.#returned = false
    this.#text = ''
    this.#spans = undefined
    this.#cells = 0
    this.#over = 0
  }

  #finish(): Line {
    const line = this.#line()
    this.#clear()
    this.#timed = false
    this.#n++
    return line
  }

  #line(): Line {
    // A tail may be read while its spans still grow.
    return { n: this.#n, text: this.#text, spans: this.#spans && [...this.#spans], at: this.#at, cells: this.#cells, over: this.#over }
  }
}

const isHigh = (code: number) => code >= 0xd800 && code <= 0xdbff
