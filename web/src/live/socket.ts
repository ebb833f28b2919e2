import { ApiError } from '@/api/problem'
import { backoff } from './backoff'

/** How a live connection stands: it connects, it is open, it waits for its next try, or
 * it has ended for good. */
export type LiveState = 'connecting' | 'open' | 'waiting' | 'ended'

/** What a live connection is made of. */
export interface Live {
  /** Where to connect, asked before each try: it may say from where to go on. */
  path: () => string
  /** Gets the subprotocols, with a fresh ticket in them. */
  protocols: () => Promise<string[]>
  /** A text frame, decoded. */
  onMessage: (message: unknown) => void
  /** A binary frame. */
  onBytes?: (bytes: Uint8Array) => void
  /** Every change; at `ended`, why, unless the server or the caller closed it. */
  onState?: (state: LiveState, why?: ApiError) => void
  /** For tests. */
  connect?: (url: string, protocols: string[]) => WebSocket
}

const settled = 5000 // ms after which a connection counts as good
const finished = 1000 // the close code of a stream that has come to its end

/** Opens a WebSocket and keeps it open: it connects again, after a growing pause, until
 * it is closed, the server says that nothing more will come, or the ticket is refused.
 * Returns what closes it. */
export function openLive(live: Live): () => void {
  const connect = live.connect ?? ((url, protocols) => new WebSocket(url, protocols))
  let socket: WebSocket | undefined
  let timer: ReturnType<typeof setTimeout> | undefined
  let failures = 0
  let over = false

  const end = (why?: ApiError) => {
    if (over) return
    over = true
    clearTimeout(timer)
    window.removeEventListener('online', hurry)
    live.onState?.('ended', why)
  }

  const retry = () => {
    if (over) return
    live.onState?.('waiting')
    timer = setTimeout(() => void start(), backoff(failures++))
  }

  const hurry = () => {
    if (socket || over) return
    clearTimeout(timer)
    void start()
  }

  const start = async () => {
    live.onState?.('connecting')
    let protocols: string[]
    try {
      protocols = await live.protocols()
    } catch (error) {
      // What does not exist, or belongs to somebody else, will not come by waiting.
      if (error instanceof ApiError && error.status >= 400 && error.status < 500 && error.status !== 429) end(error)
      else retry()
      return
    }
    if (over) return
    const url = new URL(live.path(), location.href)
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:'
    const s = connect(url.href, protocols)
    s.binaryType = 'arraybuffer'
    socket = s
    let good: ReturnType<typeof setTimeout> | undefined
    s.addEventListener('open', () => {
      if (over) return s.close()
      good = setTimeout(() => {
        failures = 0
      }, settled)
      live.onState?.('open')
    })
    s.addEventListener('message', (e: MessageEvent) => {
      if (over) return
      if (typeof e.data === 'string') live.onMessage(JSON.parse(e.data))
      else live.onBytes?.(new Uint8Array(e.data as ArrayBuffer))
    })
    s.addEventListener('close', (e: CloseEvent) => {
      clearTimeout(good)
      socket = undefined
      if (e.code === finished) end()
      else retry()
    })
  }

  window.addEventListener('online', hurry)
  void start()
  return () => {
    end()
    // One that is not open yet is closed when it is: browsers call it a mistake before.
    if (socket?.readyState === WebSocket.OPEN) socket.close()
  }
}
