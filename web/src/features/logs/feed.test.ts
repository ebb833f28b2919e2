// @vitest-environment jsdom
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { ApiError } from '@/api/problem'
import type { Live } from '@/live/socket'
import { createHash } from 'node:crypto'
import { openLive } from '@/live/socket'
import { openFeed, type Connection } from './feed'
import { frame, manual, seeded } from './testing'

vi.mock('@/api/client', () => ({ api: { POST: async () => ({ data: { protocols: ['v1.job', 'ticket.t'] } }) } }))

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

function start() {
  const opened: { live: Live; closed: boolean }[] = []
  const states: Connection['state'][] = []
  const jobs: unknown[] = []
  const made = manual()
  const close = openFeed({
    job: 'job_1',
    store: made.store,
    onConnection: (c) => states.push(c.state),
    onJob: (j) => jobs.push(j),
    open: (live) => {
      const one = { live, closed: false }
      opened.push(one)
      return () => {
        one.closed = true
        live.onState?.('ended')
      }
    },
  })
  const last = () => opened[opened.length - 1] as { live: Live; closed: boolean }
  const bytes = (offset: number, text: string) => last().live.onBytes?.(frame(offset, text))
  return { ...made, opened, states, jobs, close, last, bytes, path: () => last().live.path() }
}

test('each connection begins with the first byte that is missing', () => {
  const f = start()
  expect(f.path()).toBe('/ws/job/job_1?from=0&attempt=1')
  f.last().live.onState?.('open')
  f.bytes(0, 'one\nto')
  f.last().live.onState?.('waiting')
  expect(f.path()).toBe('/ws/job/job_1?from=6&attempt=1')
  f.last().live.onState?.('open')
  f.bytes(4, 'tomorrow\n')
  expect(f.texts()).toEqual(['one', 'tomorrow'])
  expect(f.states).toEqual(['live', 'reconnecting'])
})

test('that it reconnects can be read for a second, however quick it was', async () => {
  const f = start()
  f.last().live.onState?.('open')
  f.last().live.onState?.('waiting')
  await vi.advanceTimersByTimeAsync(200)
  f.last().live.onState?.('open')
  await vi.advanceTimersByTimeAsync(700)
  expect(f.states).toEqual(['live', 'reconnecting'])
  await vi.advanceTimersByTimeAsync(100)
  expect(f.states).toEqual(['live', 'reconnecting', 'live'])
  f.last().live.onState?.('waiting')
  await vi.advanceTimersByTimeAsync(5000)
  f.last().live.onState?.('open')
  expect(f.states.at(-1)).toBe('live')
})

test('another attempt begins at its first byte, and so does the next connection', () => {
  const f = start()
  f.bytes(0, 'old\n')
  f.last().live.onMessage({ type: 'reset', attempt: 2 })
  f.bytes(0, 'new')
  expect(f.texts()).toEqual(['new'])
  expect(f.path()).toBe('/ws/job/job_1?from=3&attempt=2')
})

test('the attempt that a job is in counts from its first byte on alone', () => {
  const f = start()
  f.bytes(0, 'old\n')
  f.last().live.onMessage({ type: 'job', job: { attempt: 2 } })
  expect(f.path()).toBe('/ws/job/job_1?from=4&attempt=1')
  expect(f.jobs).toEqual([{ attempt: 2 }])
})

test.each([
  ['a gap', (f: ReturnType<typeof start>) => f.bytes(100, 'lost')],
  ['a reader that was too slow', (f: ReturnType<typeof start>) => f.last().live.onMessage({ type: 'resync', offset: 100 })],
])('%s is asked for again, more and more slowly', async (_name, lose) => {
  const f = start()
  f.last().live.onState?.('open')
  f.bytes(0, 'one\n')
  lose(f)
  expect(f.opened[0]?.closed).toBe(true)
  await vi.advanceTimersByTimeAsync(0)
  expect(f.opened).toHaveLength(2)
  expect(f.path()).toBe('/ws/job/job_1?from=4&attempt=1')
  lose(f)
  await vi.advanceTimersByTimeAsync(0)
  expect(f.opened).toHaveLength(2)
  await vi.advanceTimersByTimeAsync(2000)
  expect(f.opened).toHaveLength(3)
  f.last().live.onState?.('open')
  f.bytes(4, 'two\n')
  lose(f)
  await vi.advanceTimersByTimeAsync(0)
  expect(f.opened).toHaveLength(4)
  expect(f.texts()).toEqual(['one', 'two'])
  expect(f.states).not.toContain('ended')
})

test('the end is the end', () => {
  const f = start()
  f.bytes(0, 'one')
  f.last().live.onMessage({ type: 'end' })
  f.last().live.onState?.('ended')
  expect(f.store.complete).toBe(true)
  expect(f.states).toEqual(['ended'])
})

test('a refusal says why, and an end too early is one', () => {
  const why = new ApiError({ status: 404, code: 'not_found', detail: 'no such job' })
  const seen: Connection[] = []
  for (const reason of [why, undefined]) {
    openFeed({
      job: 'job_1',
      store: manual().store,
      onConnection: (c) => seen.push(c),
      open: (live) => {
        live.onState?.('ended', reason)
        return () => {}
      },
    })
  }
  expect(seen).toMatchObject([
    { state: 'refused', why },
    { state: 'refused', why: { code: 'closed' } },
  ])
})

test('closed, it tells nothing more and opens nothing', async () => {
  const f = start()
  f.bytes(9, 'gap')
  f.close()
  const told = f.states.length
  await vi.advanceTimersByTimeAsync(60_000)
  expect(f.opened).toHaveLength(1)
  expect(f.states).toHaveLength(told)
})

/** Sends the log from where it is asked to, in frames of any size, and breaks off after
 * some of them until it was asked often enough. */
class FakeServer extends EventTarget {
  binaryType = ''
  static asked: number[] = []
  constructor(url: string, log: Uint8Array, random: () => number, drops: number) {
    super()
    const from = Number(new URL(url).searchParams.get('from'))
    FakeServer.asked.push(from)
    const stays = FakeServer.asked.length > drops
    setTimeout(() => {
      this.dispatchEvent(new Event('open'))
      // What it breaks off at may be what it began with.
      const end = stays ? log.length : from + Math.floor(random() * (log.length - from))
      for (let at = from; at < end; ) {
        const back = Math.floor(random() * Math.min(at, 9)) // it repeats itself at times
        const size = 1 + Math.floor(random() * 700)
        this.dispatchEvent(new MessageEvent('message', { data: frame(at - back, log.subarray(at - back, Math.min(end, at + size))).buffer }))
        at += size
      }
      if (stays) this.dispatchEvent(new MessageEvent('message', { data: '{"type":"end"}' }))
      this.dispatchEvent(Object.assign(new Event('close'), { code: stays ? 1000 : 1006 }))
    })
  }
  close() {}
}

test.each([1, 2, 3, 4, 5, 6])('a connection that breaks twice or more costs no byte and repeats none (seed %i)', async (seed) => {
  const random = seeded(seed)
  const log = new TextEncoder().encode(Array.from({ length: 3000 }, (_, i) => `line ${i + 1} größer 漢\n`).join(''))
  const taken = createHash('sha256')
  const { store, texts } = manual({ tap: { bytes: (_attempt, _offset, data) => void taken.update(data) } })
  FakeServer.asked = []
  const states: string[] = []
  openFeed({
    job: 'job_1',
    store,
    onConnection: (c) => states.push(c.state),
    open: (live) => openLive({ ...live, connect: (url) => new FakeServer(url, log, random, 1 + seed) as unknown as WebSocket }),
  })
  await vi.advanceTimersByTimeAsync(300_000)
  expect(FakeServer.asked).toHaveLength(2 + seed)
  expect(FakeServer.asked[0]).toBe(0)
  expect(store.received).toBe(log.length)
  expect(taken.digest('hex')).toBe(createHash('sha256').update(log).digest('hex'))
  expect(texts()[2999]).toBe('line 3000 größer 漢')
  expect(states.at(-1)).toBe('ended')
})
