// The log viewer alone, in the page of its bench (src/features/logs/bench). What it takes
// is told by make bench-web; here only what is the same on every machine counts.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { check } from '../src/features/logs/bench/behaviour.mjs'
import { measure, miscounts } from '../src/features/logs/bench/measure.mjs'

test('the log viewer scrolls, follows, wraps, links and searches as it promises', async () => {
  assert.deepEqual(await check(), [])
})

test('the log viewer keeps 100,000 lines and 5,000 a second more, and shows a screenful', async () => {
  assert.deepEqual(miscounts(await measure(1)), [])
})
