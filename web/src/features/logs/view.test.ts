import { expect, test } from 'vitest'
import { look, ratio, readable } from './colour'
import { keyed, scrolled } from './follow'
import { LineParser, type Line } from './parser'
import { extend, formatRange, parseRange } from './permalink'
import { pattern } from './search'
import { segments } from './segments'
import { inverse, rgb } from './style'
import { formatTime } from './times'
import { waitingFor } from './waiting'

test('scrolling up ends following, and coming to the end begins it', () => {
  const at = { on: true, top: 1000 }
  expect(scrolled(at, 1000, 1000)).toBe(at)
  expect(scrolled(at, 940, 1000)).toEqual({ on: false, top: 940 })
  expect(scrolled({ on: false, top: 940 }, 960, 1000)).toEqual({ on: false, top: 960 })
  expect(scrolled({ on: false, top: 960 }, 998, 1000)).toEqual({ on: true, top: 998 })
  expect(scrolled(at, 1000, 1400)).toBe(at)
  expect(scrolled({ on: true, top: 1000 }, 700, 700)).toEqual({ on: true, top: 700 })
})

test('keys move by rows and pages, and to the ends', () => {
  const moves = ['ArrowUp', 'ArrowDown', 'PageUp', 'PageDown', 'Home', 'End', 'a'].map((k) => keyed(k, 400, 20))
  expect(moves).toEqual([-20, 20, -380, 380, 'top', 'bottom', undefined])
})

test.each([
  ['#L12', { from: 12, to: 12 }],
  ['#L10-L20', { from: 10, to: 20 }],
  ['L20-10', { from: 10, to: 20 }],
  ['#l3', { from: 3, to: 3 }],
  ['#A2-L10-L20', { attempt: 2, from: 10, to: 20 }],
  ['#A2', undefined],
  ['#L0', undefined],
  ['#Lx', undefined],
  ['#files', undefined],
  ['', undefined],
])('%j names lines', (hash, want) => expect(parseRange(hash)).toEqual(want))

test('a range is written as it is read, and grows to what is chosen with it', () => {
  for (const r of [
    { from: 7, to: 7 },
    { from: 10, to: 20 },
    { attempt: 2, from: 10, to: 20 },
  ])
    expect(parseRange(formatRange(r))).toEqual(r)
  expect(extend(undefined, 5)).toEqual({ from: 5, to: 5 })
  expect(extend({ from: 5, to: 5 }, 9)).toEqual({ from: 5, to: 9 })
  expect(extend({ from: 5, to: 9 }, 2)).toEqual({ from: 2, to: 9 })
})

test('hits cut across styles', () => {
  let line: Line | undefined
  new LineParser().read('ab\u001b[31mcde\u001b[0mf\n', 0, (l) => (line = l))
  if (!line) throw new Error('no line')
  const red = { fg: 1, bg: -1, flags: 0 }
  const got = segments(line, pattern({ text: 'BC', caseSensitive: false })).map((s) => [s.text, s.style.fg, s.hit])
  expect(got).toEqual([
    ['a', -1, false],
    ['b', -1, true],
    ['c', red.fg, true],
    ['de', red.fg, false],
    ['f', -1, false],
  ])
  expect(segments(line).map((s) => s.text)).toEqual(['ab', 'cde', 'f'])
})

const hex = (s: string) => Number.parseInt(s.slice(1), 16)

test('no style hides text', () => {
  for (const fg of [-1, 0, 4, 8, 16, 17, 232, rgb, rgb + 0x0b1016, rgb + 0xffffff])
    for (const bg of [-1, 0, 1, 3, 7, 15, 21, 231, 244, rgb + 0x808080])
      for (const flags of [0, 2, inverse, inverse | 2]) {
        const { color = '#dbe0e5', backgroundColor = '#0c1217' } = look({ fg, bg, flags })
        expect(ratio(hex(color), hex(backgroundColor))).toBeGreaterThanOrEqual(4.5)
      }
  expect(readable(0xffffff, 0)).toBe(0xffffff)
})

test('times are of the day or since the start, and absent where they are not known', () => {
  const began = Date.UTC(2026, 10, 23, 23, 59, 58, 500)
  expect(formatTime(began + 3_723_004, 'relative', began)).toBe('+01:02:03.004')
  expect(formatTime(began + 1500, 'utc', began)).toBe('00:00:00.000')
  expect([formatTime(0, 'utc', began), formatTime(began, 'off', began)]).toEqual(['', ''])
})

test('an empty log says what it waits for, in every state', () => {
  const states = ['pending', 'queued', 'assigned', 'running', 'cancelling', 'succeeded'] as const
  expect(new Set(states.map((state) => waitingFor({ state }))).size).toBe(states.length)
  expect(waitingFor({ state: 'failed', started_at: '2026-01-01T00:00:00Z' })).toBe('The command wrote nothing.')
  expect(waitingFor({ state: 'cancelled' })).toBe('It ended before its command had started.')
  expect(waitingFor({ state: 'assigned', phase: { name: 'starting', done: 0, total: 0 } })).toBe('The host starts the command.')
})
