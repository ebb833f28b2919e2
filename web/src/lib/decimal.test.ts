import { expect, test } from 'vitest'
import { decimal, noNumber } from './decimal'

test('a comma is a decimal point where it can be nothing else', () => {
  for (const [text, number] of [['0,35', 0.35], ['0,125', 0.125], [',5', 0.5], ['12,5', 12.5], ['1000,500', 1000.5], [' 1.25 ', 1.25], ['3,1415', 3.1415]] as const) {
    expect([text, Number(decimal(text))]).toEqual([text, number])
  }
  for (const text of ['1,000', '1,440', '10,000', '1,000,000', '1,000.50', 'abc']) expect([text, Number(decimal(text))]).toEqual([text, Number.NaN])
  expect(noNumber('1,000', 'x')).toContain('without a comma')
  expect(noNumber('abc', 'x')).toBe('x')
})
