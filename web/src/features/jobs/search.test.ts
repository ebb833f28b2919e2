import { expect, test } from 'vitest'
import { readJobsSearch, readNewJobSearch } from './search'

test('what makes no sense in the URL is undefined, so that it does not stay there', () => {
  expect(readJobsSearch({ state: 'toString', q: ['a'], x: 1 })).toStrictEqual({ state: undefined, q: undefined })
  expect(readNewJobSearch({ from: 'job_1', example: 'cats', model: 1, host: 'hst_' })).toStrictEqual({
    from: undefined, example: undefined, model: undefined, host: undefined,
  })
})

test('what makes sense is kept', () => {
  expect(readJobsSearch({ state: 'failed', q: 7 })).toStrictEqual({ state: 'failed', q: '7' })
  const from = `job_${'0'.repeat(32)}`
  const host = `hst_${'f'.repeat(32)}`
  expect(readNewJobSearch({ from, example: 'digits', model: 'NVIDIA L4', host })).toStrictEqual({ from, example: 'digits', model: 'NVIDIA L4', host })
})
