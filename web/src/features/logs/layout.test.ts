import { expect, test } from 'vitest'
import { cells, rowCount } from './cells'
import { bottom, height, overText, place, rowHeight, Rows, scrollTo, tallest, drawn, type Shown } from './layout'
import { lineCap, type Line } from './parser'
import { seeded } from './testing'

const line = (text: string, n = 1, over = 0): Line => ({ n, text, over, spans: undefined, at: 0, cells: cells(text) })

const shown = (lines: Line[], key = 'a'): Shown => ({ count: lines.length, at: (i) => lines[i], key, filtered: false })

test.each([
  ['', 0],
  ['plain', 5],
  ['größer', 6],
  ['漢字', 4],
  ['e\u0301', 1],
  ['\u{1f680}!', 3],
  ['▇▇░', 3],
])('%j takes %i cells', (text, want) => expect(cells(text)).toBe(want))

test.each([
  ['', 10, 1],
  ['x'.repeat(10), 10, 1],
  ['x'.repeat(11), 10, 2],
  ['漢'.repeat(5), 10, 1],
  ['漢'.repeat(5), 9, 2],
  [`x${'漢'.repeat(4)}`, 4, 3],
])('%j in %i columns takes %i rows', (text, columns, want) => expect(rowCount(text, cells(text), columns)).toBe(want))

test.each(Array.from({ length: 20 }, (_, i) => i + 1))('sums grow with the lines as if they were made anew (seed %i)', (seed) => {
  const random = seeded(seed)
  const columns = 5 + Math.floor(random() * 100)
  const lines: Line[] = []
  const grown = new Rows()
  for (let step = 0; step < 30; step++) {
    // The last line may change before others come after it.
    if (lines.length > 0 && random() < 0.5) lines[lines.length - 1] = line('y'.repeat(Math.floor(random() * 400)))
    for (let i = Math.floor(random() * 5); i > 0; i--) lines.push(line('x'.repeat(Math.floor(random() * 400))))
    grown.update(shown(lines), columns)
    const fresh = new Rows()
    fresh.update(shown([...lines], `fresh ${step}`), columns)
    expect(grown.total).toBe(fresh.total)
  }
  let top = 0
  for (const [i, l] of lines.entries()) {
    expect(grown.top(i)).toBe(top)
    for (let r = 0; r < Math.max(1, Math.ceil(l.cells / columns)); r++) expect(grown.at(top + r)).toBe(i)
    top += Math.max(1, Math.ceil(l.cells / columns))
  }
  expect(grown.total).toBe(top)
})

test('without wrapping a line is a row, after a resize as before', () => {
  const lines = [line('x'.repeat(100), 1), line('y', 2), line('z'.repeat(100), 3)]
  const r = new Rows()
  r.update(shown(lines), 0)
  expect([r.total, r.top(2), r.at(2)]).toEqual([3, 2, 2])
  r.update(shown(lines), 50)
  expect([r.total, r.top(2), r.at(2)]).toEqual([5, 3, 1])
  r.update(shown(lines), 10)
  expect([r.total, r.top(2)]).toEqual([21, 11])
  r.update(shown(lines), 0)
  expect(r.total).toBe(3)
})

test('what says that a line was too long has its place too', () => {
  const r = new Rows()
  r.update(shown([line('x'.repeat(lineCap), 1, 5)]), 100)
  expect(r.total).toBe(Math.ceil((lineCap + overText(5).length) / 100))
})

test('only what is in view is drawn, and some more', () => {
  const lines = Array.from({ length: 10_000 }, (_, i) => line('', i + 1))
  const r = new Rows()
  r.update(shown(lines), 0)
  for (let y = 0; y < 9_000 * rowHeight; y += 977) {
    const [first, end] = drawn(r, lines.length, 8, y, 800)
    expect(first).toBeLessThanOrEqual(Math.max(0, Math.floor((y - 8) / rowHeight)))
    expect(end).toBeGreaterThanOrEqual(Math.ceil((y - 8 + 800) / rowHeight))
    expect(end - first).toBeLessThanOrEqual(60)
  }
  expect(drawn(r, lines.length, 8, 1e9, 800)[1]).toBe(10_000)
  expect(drawn(r, 0, 8, 0, 800)).toEqual([0, 0])
})

test('what is higher than a browser can lay out can be scrolled to its ends all the same', () => {
  const small = { rows: 100, above: 8, below: 40, view: 400 }
  expect(height(small)).toBe(2048)
  expect([place(small, 700), scrollTo(small, 700), scrollTo(small, 1e9)]).toEqual([700, 700, 1648])
  const big = { ...small, rows: 40_000_000 }
  expect(height(big)).toBe(tallest)
  expect(place(big, bottom(big))).toBeCloseTo(40_000_000 * rowHeight + 48 - 400)
  expect(place(big, scrollTo(big, 123_456_789))).toBeCloseTo(123_456_789)
  expect(bottom({ ...small, rows: 1 })).toBe(0)
})
