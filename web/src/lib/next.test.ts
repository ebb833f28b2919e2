import { expect, test } from 'vitest'
import { safeNext } from './next'

test.each(['/jobs', '/jobs/job_1?tab=logs#L100', '/models/a%2F%2Fb', '/?q=//x'])('%s is a place of this site', (path) =>
  expect(safeNext(path)).toBe(path),
)

test.each([
  '//evil.example',
  '/\\evil.example',
  '\\\\evil.example',
  '/\t/evil.example',
  '/\n/evil.example',
  'https://evil.example/',
  'javascript:alert(1)',
  'jobs',
  '',
  '/a\\..\\b',
  ['/jobs'],
  7,
  undefined,
])('%j is not', (raw) => expect(safeNext(raw)).toBeUndefined())
