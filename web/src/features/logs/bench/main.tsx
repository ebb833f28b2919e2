import { useSyncExternalStore } from 'react'
import { createRoot } from 'react-dom/client'
import '@/index.css'
import { ApiError } from '@/api/problem'
import type { Connection } from '../feed'
import { LogView } from '../log-view'
import { LogStore } from '../store'

const store = new LogStore()
const encoder = new TextEncoder()
const listeners = new Set<() => void>()
let shown: { connection: Connection; waiting: string; attempts: number } = {
  connection: { state: 'live' },
  waiting: 'The job waits for a host. Its log begins when one runs it.',
  attempts: 1,
}

function change(next: Partial<typeof shown>) {
  shown = { ...shown, ...next }
  for (const l of listeners) l()
}

let n = 0

/** A line such as a training run writes. */
function line(): string {
  n++
  const loss = (2.4 / (1 + n / 900)).toFixed(4)
  if (n % 997 === 0) return `\u001b[33mWARN\u001b[0m  step ${n}: gradient norm 12.${n % 90} is above 10, clipped\n`
  if (n % 4999 === 0) return `\u001b[1;31mERROR\u001b[0m worker 3: CUDA error: out of memory. Tried to allocate 2.${n % 90} GiB\n`
  if (n % 13 === 0) return `\u001b[2mdata\u001b[0m  shard \u001b[36m${String(n % 640).padStart(5, '0')}\u001b[0m decoded in ${n % 37} ms\n`
  return `step \u001b[1m${String(n).padStart(7)}\u001b[0m loss \u001b[32m${loss}\u001b[0m lr 3.0e-4 tokens/s ${18_000 + (n % 977)} gpu 0 util ${90 + (n % 10)} % mem 21.${n % 9} GiB\n`
}

function lines(count: number): Uint8Array {
  let text = ''
  for (let i = 0; i < count; i++) text += line()
  return encoder.encode(text)
}

const pause = () => new Promise((resolve) => setTimeout(resolve))

/** What the script drives. */
const bench = {
  store,
  change,
  /** How many lines load and stream made. */
  get written() {
    return n
  },
  write: (text: string, at = 0) => store.append(store.received, at, encoder.encode(text)),
  refuse: (detail: string) => change({ connection: { state: 'refused', why: new ApiError({ status: 503, code: 'unavailable', detail, requestId: '01JD2Y7K3V' }) } }),
  end() {
    store.end()
    change({ connection: { state: 'ended' } })
  },
  /** Adds so many lines, in frames as large as the server's. The answer is in ms, until
   * they are on the screen. */
  async load(count: number): Promise<number> {
    const all = lines(count)
    const began = performance.now()
    for (let at = 0; at < all.length; at += 256 << 10) {
      store.append(store.received, 1000 * (n + 1), all.subarray(at, at + (256 << 10)))
      // oxlint-disable-next-line no-await-in-loop -- as messages of a socket come
      await pause()
    }
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done)))
    return performance.now() - began
  },
  /** Adds lines at a rate, in batches as the server sends them, until it is stopped; that
   * answers how many there were a second. */
  stream(perSecond: number): () => number {
    const began = performance.now()
    let sent = 0
    const send = () => {
      const due = Math.floor(((performance.now() - began) * perSecond) / 1000) - sent
      if (due <= 0) return
      sent += due
      store.append(store.received, Date.now(), lines(due))
    }
    const timer = setInterval(send, 20)
    return () => {
      clearInterval(timer)
      send()
      return (sent * 1000) / (performance.now() - began)
    }
  },
}

declare global {
  var logBench: typeof bench
}
globalThis.logBench = bench

const subscribe = (l: () => void) => {
  listeners.add(l)
  return () => void listeners.delete(l)
}

function Page() {
  const { connection, waiting, attempts } = useSyncExternalStore(subscribe, () => shown)
  return (
    <div className="container-page py-4">
      <h1 className="mb-3 text-xl font-semibold">Log viewer</h1>
      <LogView
        store={store}
        connection={connection}
        waiting={waiting}
        label="Log of a job"
        name="job"
        attempts={attempts}
        attempt={attempts}
        onAttempt={() => undefined}
        onDownload={async () => undefined}
        onRetry={() => undefined}
      />
    </div>
  )
}

const root = document.getElementById('root')
if (root) createRoot(root).render(<Page />)
