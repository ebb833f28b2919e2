import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { ApiError } from '@/api/problem'
import type { Feed } from './feed'
import { LogSource } from './source'

const { feeds, get } = vi.hoisted(() => ({ feeds: [] as { feed: Feed; closed: boolean }[], get: vi.fn<(path: string, init: unknown) => Promise<unknown>>() }))

vi.mock('@/api/client', () => ({ api: { GET: get } }))
vi.mock('./feed', async (original) => ({
  ...(await original<typeof import('./feed')>()),
  openFeed: (feed: Feed) => {
    const one = { feed, closed: false }
    feeds.push(one)
    return () => void (one.closed = true)
  },
}))

beforeEach(() => {
  vi.useFakeTimers()
  vi.stubGlobal('requestAnimationFrame', () => 0)
  vi.stubGlobal('document', { hidden: false })
  feeds.length = 0
  get.mockReset()
})
afterEach(() => {
  vi.useRealTimers()
  vi.unstubAllGlobals()
})

const job = { id: 'job_1', attempt: 2, log: { bytes: 4 } } as ConstructorParameters<typeof LogSource>[0]

const body = (...parts: string[]) => ({
  data: new ReadableStream<Uint8Array>({
    start(controller) {
      for (const p of parts) controller.enqueue(new TextEncoder().encode(p))
      controller.close()
    },
  }),
})

test('the latest attempt is followed from its first byte on', () => {
  const source = new LogSource(job)
  const heard: unknown[] = []
  source.listen((j) => heard.push(j))
  const stop = source.start()
  expect(source.shown()).toMatchObject({ connection: { state: 'connecting' }, attempt: 0, store: { attempt: 2, received: 0 } })
  const before = source.shown()
  feeds[0]?.feed.onConnection({ state: 'live' })
  feeds[0]?.feed.onJob?.(job)
  expect(source.shown()).not.toBe(before)
  expect(source.shown().connection.state).toBe('live')
  expect(heard).toEqual([job])
  stop()
  expect(feeds[0]?.closed).toBe(true)
})

test('an attempt before is read whole, and left again', async () => {
  get.mockResolvedValue(body('first\nat', 'tempt\n'))
  const source = new LogSource(job)
  source.start()
  source.choose(1)
  await vi.advanceTimersByTimeAsync(0)
  const { store, connection, attempt } = source.shown()
  expect([store.at(0)?.text, store.at(1)?.text, store.complete]).toEqual(['first', 'attempt', true])
  expect([connection.state, attempt]).toEqual(['ended', 1])
  expect(get).toHaveBeenCalledWith('/api/jobs/{id}/logs', expect.objectContaining({ params: { path: { id: 'job_1' }, query: { attempt: 1, from: 0 } } }))
  source.choose(0)
  expect(source.shown().store).toBe(feeds[0]?.feed.store)
})

test('reading goes on where it broke off', async () => {
  let pulls = 0
  const broken = new ReadableStream<Uint8Array>({
    pull(controller) {
      if (pulls++ === 0) controller.enqueue(new TextEncoder().encode('one\n'))
      else controller.error(new Error('gone'))
    },
  })
  get.mockResolvedValueOnce({ data: broken }).mockResolvedValueOnce(body('two\n'))
  const source = new LogSource(job)
  source.choose(1)
  await vi.advanceTimersByTimeAsync(0)
  const { received } = source.shown().store
  expect(source.shown().connection.state).toBe('reconnecting')
  await vi.advanceTimersByTimeAsync(1000)
  expect(get.mock.lastCall?.[1]).toMatchObject({ params: { query: { attempt: 1, from: received } } })
  expect(source.shown().connection.state).toBe('ended')
})

test('a refusal is shown, and can be tried again', async () => {
  get.mockRejectedValueOnce(new ApiError({ status: 404, code: 'not_found', detail: 'no such attempt' })).mockResolvedValueOnce(body('there\n'))
  const source = new LogSource(job)
  source.choose(1)
  await vi.advanceTimersByTimeAsync(0)
  expect(source.shown().connection).toMatchObject({ state: 'refused', why: { code: 'not_found' } })
  source.retry()
  await vi.advanceTimersByTimeAsync(0)
  expect(source.shown().connection.state).toBe('ended')

  source.choose(0)
  source.start()
  source.retry()
  expect(feeds.map((f) => f.closed)).toEqual([true, false])
})
