import { expect, test } from 'vitest'
import { from, Search, type Query } from './search'
import type { LogStore } from './store'
import { manual, seeded } from './testing'

function find(store: LogStore, query: Query, e = env()) {
  const search = new Search(store, e)
  search.find(query)
  return search
}

function env() {
  let tasks: (() => void)[] = []
  let clock = 0
  return {
    // Each look at the clock is 4 ms later: two of them are more than a slice.
    now: () => (clock += 4),
    later: (task: () => void) => void tasks.push(task),
    run: () => {
      const now = tasks
      tasks = []
      for (const t of now) t()
      return now.length
    },
  }
}

test('it works in slices until it has seen everything', () => {
  const { store, write } = manual()
  for (let i = 1; i <= 5000; i++) write(`line ${i}\n`)
  const e = env()
  const search = find(store, { text: '99', caseSensitive: false }, e)
  expect(search.done).toBe(false)
  let slices = 1
  while (e.run() > 0) slices++
  expect(slices).toBeGreaterThan(5)
  expect(search.done).toBe(true)
  const want = Array.from({ length: 5000 }, (_, i) => i + 1).filter((n) => String(n).includes('99'))
  expect(search.hits).toEqual(want)
})

test('what comes later is found as it comes', () => {
  const { store, write, frames } = manual()
  const search = find(store, { text: 'err', caseSensitive: false })
  const seen: number[] = []
  search.subscribe(() => seen.push(search.hits.length))
  write('fine\nERROR\n')
  frames()
  write('an er')
  frames()
  expect(search.hits).toEqual([2])
  write('r')
  frames()
  expect(search.hits).toEqual([2, 3])
  write('or\rgone')
  frames()
  expect(search.hits).toEqual([2])
  write('\nerr\n')
  frames()
  expect(search.hits).toEqual([2, 4])
  expect(seen).toEqual([1, 1, 2, 1, 2])
})

test('case matters where it is asked for, and signs have no other meaning', () => {
  const { store, write } = manual()
  write('Loss: 1.5 (mean)\nloss: 1x5\n')
  const hits = (text: string, caseSensitive: boolean) => [...find(store, { text, caseSensitive }).hits]
  expect(hits('loss', false)).toEqual([1, 2])
  expect(hits('loss', true)).toEqual([2])
  expect(hits('1.5', false)).toEqual([1])
  expect(hits('(mean)', false)).toEqual([1])
})

test('lines that were dropped are no hits any more, and another attempt has its own', () => {
  const { store, write, frames } = manual({ limits: { lines: 100, characters: 1e6 } })
  const search = find(store, { text: '0', caseSensitive: false })
  for (let i = 1; i <= 101; i++) write(`${i}\n`)
  frames()
  expect(search.hits).toEqual([20, 30, 40, 50, 60, 70, 80, 90, 100, 101])
  store.reset(2)
  write('0\n')
  frames()
  expect(search.hits).toEqual([1])
})

test('another text starts anew, and none ends it', () => {
  const { store, write, frames } = manual()
  for (let i = 1; i <= 5000; i++) write(`line ${i}\n`)
  const e = env()
  const search = find(store, { text: 'line', caseSensitive: false }, e)
  search.find({ text: '4999', caseSensitive: false })
  while (e.run() > 0);
  expect(search.hits).toEqual([4999])
  search.find({ text: '', caseSensitive: false })
  write('4999\n')
  frames()
  expect([search.hits, search.pattern]).toEqual([[], undefined])
})

test('the first number that is not below another is found', () => {
  const random = seeded(5)
  const numbers = Array.from({ length: 100 }, () => Math.floor(random() * 300)).toSorted((a, b) => a - b)
  for (let n = -1; n < 302; n++) {
    const i = numbers.findIndex((m) => m >= n)
    expect(from(numbers, n)).toBe(i < 0 ? numbers.length : i)
  }
})
