import { expect, test } from 'vitest'
import { net, priceOf, priceText } from './money'
import { add, path } from './series'

test('what is kept of a price is exact to the millionth', () => {
  expect(net(350_000, 1000)).toBe(315_000)
  expect(net(1, 1000)).toBe(1)
  expect(net(19, 1000)).toBe(18)
})

test.each([['0.35', 350_000], ['0,35', 350_000], [' 12 ', 12_000_000], ['0', 0], ['0.0000001', undefined], ['-1', undefined], ['', undefined], ['1e3', undefined], ['10001', undefined]])('%j is a price or none', (text, micros) => {
  expect(priceOf(text)).toBe(micros)
})

test.each([0, 1, 350_000, 10_000_000_000])('%d is read as it is shown', (micros) => {
  expect(priceOf(priceText(micros))).toBe(micros)
})

const at = (minute: number, utilization_percent = 50) => ({ time: new Date(minute * 60_000).toISOString(), utilization_percent, memory_used_mb: 1 })

test('samples come once, in order, and go after ten minutes', () => {
  let s = [at(0), at(5)]
  s = add(s, at(5))
  expect(s).toHaveLength(2)
  s = add(s, at(11))
  expect(s.map((x) => x.time)).toEqual([at(5).time, at(11).time])
})

test('a line ends at the right edge and stays in its box', () => {
  expect(path([at(0, 0), at(5, 100), at(10, 200)], (s) => s.utilization_percent, 100, 100, 20)).toBe('M0.0 19.0L50.0 1.0L100.0 1.0')
  expect(path([], () => 1, 1, 1, 1)).toBe('')
})
