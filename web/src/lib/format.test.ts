import { describe, expect, test } from 'vitest'
import { ago, bytes, countdown, counted, duration, exactMoney, mebibytes, money, moneyRange, percent, vram } from './format'

describe('money', () => {
  test.each([
    [0, '$0.00'],
    [350_000, '$0.35'],
    [7_039, '$0.007039'],
    [12_345_678, '$12.35'],
    [1_234_500_000, '$1,234.50'],
    [123_456, '$0.1235'],
    [1, '$0.000001'],
    [-350_000, '-$0.35'],
  ])('%d millionths are %s', (micros, text) => expect(money(micros, 'USD')).toBe(text))

  test('a bill shows every millionth', () => expect(exactMoney(12_345_678, 'USD')).toBe('$12.345678'))
  test('the currency is always shown', () => expect(money(1_000_000, 'EUR')).toBe('€1.00'))
})

test.each([
  [0, '0 B'],
  [1023, '1023 B'],
  [1536, '1.5 KiB'],
  [100 * 1024, '100 KiB'],
  [5 * 1024 ** 3, '5 GiB'],
])('%d bytes are %s', (n, text) => expect(bytes(n)).toBe(text))

test('memory reads in its largest unit', () => expect(mebibytes(24_064)).toBe('23.5 GiB'))

test.each([
  [24_564, '24 GB'],
  [81_559, '80 GB'],
  [12_288, '12 GB'],
])('a GPU with %d MB is one of %s', (mb, text) => expect(vram(mb)).toBe(text))

test.each([
  [0, '0 ms'],
  [999, '999 ms'],
  [1200, '1.2 s'],
  [59_400, '59 s'],
  [250_000, '4 min 10 s'],
  [7_500_000, '2 h 5 min'],
  [86_400_000, '1 d'],
])('%d milliseconds are %s', (ms, text) => expect(duration(ms)).toBe(text))

test.each([
  [42, '0:42'],
  [60.2, '1:01'],
  [-1, '0:00'],
])('%d seconds to wait are %s', (s, text) => expect(countdown(s)).toBe(text))

test('a share is never rounded up to all', () => {
  expect(percent(0.99999)).toBe('99.9 %')
  expect(percent(1)).toBe('100 %')
})

test.each([
  [-5, 'now'],
  [-45, '45 s ago'],
  [-200, '3 min ago'],
  [-90_000, '1 d ago'],
  [7200, 'in 2 h'],
])('%d seconds from now are %s', (s, text) => expect(ago(1e12 + s * 1000, 1e12)).toBe(text))

test('one price is no range, and one thing no things', () => {
  expect(moneyRange(350_000, 350_000, 'USD')).toBe('$0.35')
  expect(moneyRange(350_000, 2_100_000, 'USD')).toBe('$0.35 to $2.10')
  expect([0.5, 1, 1024].map((n) => counted(n, 'CPU'))).toEqual(['0.5 CPUs', '1 CPU', '1,024 CPUs'])
})
