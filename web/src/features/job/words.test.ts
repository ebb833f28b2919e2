import { expect, test } from 'vitest'
import { eventWord, explain, figures } from './words'

test('a reason that is not known is shown as it is', () => {
  expect(explain('new_reason')).toEqual({ title: 'new reason' })
  expect(explain('timeout').advice).toContain('longer limit')
  expect(eventWord('jobs.moved_on')).toBe('moved on')
})

test('metrics become figures by their path', () => {
  expect(figures({ accuracy: 0.97123456, epochs: 20, test: { loss: 0.1, rows: [1, 2] }, note: 'ok', done: true, none: null })).toEqual([
    ['accuracy', '0.971235'], ['epochs', '20'], ['test.loss', '0.1'], ['note', 'ok'], ['done', 'yes'],
  ])
})
