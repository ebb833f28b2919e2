import { api, type Schemas } from '@/api/client'
import { ApiError, asApiError } from '@/api/problem'
import { backoff } from '@/live/backoff'
import { openLive, type LiveState } from '@/live/socket'
import type { LogStore } from './store'

type Job = Schemas['Job']
type Frame = { type: 'job'; job: Job } | { type: 'reset'; attempt: number } | { type: 'resync'; offset: number } | { type: 'end' }

/** How a log's way from the server stands. `reconnecting` has lost it, or never had it,
 * and tries on; `refused` does not. */
export type Connection = { state: 'connecting' | 'live' | 'reconnecting' | 'ended' } | { state: 'refused'; why: ApiError }

/** What a feed is made of. */
export interface Feed {
  job: string
  store: LogStore
  onConnection: (connection: Connection) => void
  /** The job, at the start and whenever its state, phase or cost changed. */
  onJob?: (job: Job) => void
  /** For tests. */
  open?: typeof openLive
}

/** Keeps a store filled with the log of a job's latest attempt, from where it is until
 * the job has ended. Connections may break: each begins with the first byte that is
 * missing. Returns what closes it. */
export function openFeed({ job, store, onConnection: tell, onJob, open = openLive }: Feed): () => void {
  let close: (() => void) | undefined
  let timer: ReturnType<typeof setTimeout> | undefined
  let turn = 0
  let gaps = 0
  let before = false // it was connected once, or tried to be
  let over = false

  const onConnection = readable(tell, () => over)

  // Without an attempt, an offset would count in whatever attempt is the latest by then.
  store.attempt ||= 1

  const state = (s: LiveState, why?: ApiError) => {
    if (s === 'open') onConnection({ state: 'live' })
    else if (s === 'waiting') onConnection({ state: 'reconnecting' })
    else if (s === 'connecting') onConnection({ state: before ? 'reconnecting' : 'connecting' })
    else if (store.complete) onConnection({ state: 'ended' })
    else onConnection({ state: 'refused', why: why ?? new ApiError({ status: 0, code: 'closed', detail: 'the server ended the connection before the log was complete' }) })
    before = true
  }

  const begin = () => {
    const mine = ++turn
    close = open({
      path: () => `/ws/job/${job}?from=${store.received}&attempt=${store.attempt}`,
      protocols: async () => {
        const { data } = await api.POST('/api/ws-tickets', { body: { job_id: job } })
        return data?.protocols ?? []
      },
      onMessage: (message) => {
        const frame = message as Frame
        if (frame.type === 'job') onJob?.(frame.job)
        else if (frame.type === 'reset') store.reset(frame.attempt)
        else if (frame.type === 'resync') resume()
        else if (frame.type === 'end') store.end()
      },
      onBytes: (bytes) => {
        const taken = store.frame(bytes)
        if (taken === 'gap') resume()
        else if (taken === 'taken') gaps = 0
      },
      onState: (s, why) => {
        if (mine === turn && !over) state(s, why)
      },
    })
  }

  /** Connects anew: at once the first time, then more and more slowly. */
  const resume = () => {
    turn++
    close?.()
    onConnection({ state: 'reconnecting' })
    timer = setTimeout(begin, gaps === 0 ? 0 : backoff(gaps))
    gaps++
  }

  begin()
  return () => {
    over = true
    clearTimeout(timer)
    close?.()
  }
}

const readTime = 1000 // ms that reconnecting is said for at least

/** Holds back that the connection is there again until one could read that it was not. */
function readable(tell: Feed['onConnection'], over: () => boolean): Feed['onConnection'] {
  let lost = 0
  let timer: ReturnType<typeof setTimeout> | undefined
  return (c) => {
    clearTimeout(timer)
    if (c.state === 'reconnecting') {
      lost ||= Date.now()
      tell(c)
      return
    }
    const wait = lost + readTime - Date.now()
    const say = () => {
      lost = 0
      if (!over()) tell(c)
    }
    if (lost > 0 && wait > 0) timer = setTimeout(say, wait)
    else say()
  }
}

/** Reads the log of an attempt that is over. */
export async function readAttempt(job: string, attempt: number, store: LogStore, onConnection: (c: Connection) => void, signal: AbortSignal): Promise<void> {
  store.attempt = attempt
  for (let failures = 0; !signal.aborted; failures++) {
    try {
      // eslint-disable-next-line no-await-in-loop
      await readFrom(job, attempt, store, signal)
      store.end()
      onConnection({ state: 'ended' })
      return
    } catch (error) {
      if (signal.aborted) return
      const why = asApiError(error)
      if (why.status >= 400 && why.status < 500 && why.status !== 429) {
        onConnection({ state: 'refused', why })
        return
      }
      onConnection({ state: 'reconnecting' })
      // eslint-disable-next-line no-await-in-loop
      await new Promise((resolve) => setTimeout(resolve, backoff(failures)))
    }
  }
}

async function readFrom(job: string, attempt: number, store: LogStore, signal: AbortSignal) {
  const { data } = await api.GET('/api/jobs/{id}/logs', {
    params: { path: { id: job }, query: { attempt, from: store.received } },
    parseAs: 'stream',
    signal,
  })
  const reader = (data as ReadableStream<Uint8Array> | null)?.getReader()
  for (;;) {
    // eslint-disable-next-line no-await-in-loop
    const part = await reader?.read()
    if (!part || part.done) return
    store.append(store.received, 0, part.value)
  }
}
