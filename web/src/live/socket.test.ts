// @vitest-environment jsdom
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { ApiError } from '@/api/problem'
import { backoff } from './backoff'
import { openLive, type LiveState } from './socket'

test('pauses grow, differ, and have an end', () => {
  expect([0, 1, 2, 20].map((n) => backoff(n, () => 1))).toEqual([500, 1000, 2000, 15_000])
  expect([0, 20].map((n) => backoff(n, () => 0))).toEqual([250, 7500])
})

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

class FakeSocket extends EventTarget {
  binaryType = ''
  closed = false
  readyState: number = WebSocket.CONNECTING
  constructor(
    readonly url: string,
    readonly protocols: string[],
  ) {
    super()
  }
  opens() {
    this.readyState = WebSocket.OPEN
    this.dispatchEvent(new Event('open'))
  }
  close() {
    this.closed = true
  }
  drop(code = 1006) {
    this.dispatchEvent(Object.assign(new Event('close'), { code }))
  }
}

function open(ticket: () => Promise<string[]> = async () => ['v1.job', 'ticket.t']) {
  const sockets: FakeSocket[] = []
  const states: LiveState[] = []
  const got: unknown[] = []
  let from = 0
  const close = openLive({
    path: () => `/ws/job/job_1?from=${from}`,
    protocols: ticket,
    onMessage: (m) => got.push(m),
    onBytes: (b) => {
      from += b.length
    },
    onState: (s) => states.push(s),
    connect: (url, protocols) => {
      const s = new FakeSocket(url, protocols)
      sockets.push(s)
      return s as unknown as WebSocket
    },
  })
  return { sockets, states, got, close, last: () => sockets[sockets.length - 1] as FakeSocket }
}

test('a dropped connection is opened again from where it was', async () => {
  const live = open()
  await vi.advanceTimersByTimeAsync(0)
  expect(live.last().url).toBe('ws://localhost:3000/ws/job/job_1?from=0')
  expect(live.last().protocols).toEqual(['v1.job', 'ticket.t'])
  live.last().opens()
  live.last().dispatchEvent(new MessageEvent('message', { data: '{"type":"job"}' }))
  live.last().dispatchEvent(new MessageEvent('message', { data: new Uint8Array(7).buffer }))
  live.last().drop()
  await vi.advanceTimersByTimeAsync(600)
  expect(live.sockets).toHaveLength(2)
  expect(live.last().url).toContain('?from=7')
  expect(live.got).toEqual([{ type: 'job' }])
  expect(live.states).toEqual(['connecting', 'open', 'waiting', 'connecting'])
  live.close()
})

test('a connection that breaks at once does not come back faster each time', async () => {
  const live = open()
  for (let i = 0; i < 6; i++) {
    await vi.advanceTimersByTimeAsync(20_000)
    live.last().opens()
    live.last().drop()
  }
  await vi.advanceTimersByTimeAsync(7000)
  expect(live.sockets).toHaveLength(6)
  await vi.advanceTimersByTimeAsync(8000)
  expect(live.sockets).toHaveLength(7)
  live.close()
})

test('a network that comes back is used at once', async () => {
  const live = open(async () => {
    throw new ApiError({ status: 0, code: 'no_answer', detail: '' })
  })
  await vi.advanceTimersByTimeAsync(0)
  const before = live.states.length
  window.dispatchEvent(new Event('online'))
  await vi.advanceTimersByTimeAsync(0)
  expect(live.states.slice(before)).toEqual(['connecting', 'waiting'])
  live.close()
})

test.each([
  ['a stream that is over', async () => ['v1.job'], (s: FakeSocket) => s.drop(1000)],
  [
    'a ticket that is refused',
    async () => {
      throw new ApiError({ status: 404, code: 'not_found', detail: '' })
    },
    undefined,
  ],
])('%s ends it', async (_name, ticket, then) => {
  const live = open(ticket as () => Promise<string[]>)
  await vi.advanceTimersByTimeAsync(0)
  then?.(live.last())
  await vi.advanceTimersByTimeAsync(60_000)
  expect(live.states[live.states.length - 1]).toBe('ended')
  expect(live.sockets.length).toBeLessThan(2)
})

test('closing stops everything', async () => {
  const live = open()
  await vi.advanceTimersByTimeAsync(0)
  live.last().opens()
  live.close()
  expect(live.last().closed).toBe(true)
  live.last().drop()
  await vi.advanceTimersByTimeAsync(60_000)
  expect(live.sockets).toHaveLength(1)
})

test('one that is closed while it connects is left alone until it is open', async () => {
  const live = open()
  await vi.advanceTimersByTimeAsync(0)
  live.close()
  expect(live.last().closed).toBe(false)
  live.last().opens()
  expect(live.last().closed).toBe(true)
  expect(live.states.at(-1)).toBe('ended')
})
