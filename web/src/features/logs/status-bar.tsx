import { bytes, counted } from '@/lib/format'
import { cn } from '@/lib/cn'
import type { Connection } from './feed'
import type { LogStore } from './store'

interface Props {
  store: LogStore
  connection: Connection
  following: boolean
  onFollow: (on: boolean) => void
  /** How many attempts there are, and which one is shown. */
  attempts: number
  attempt: number
  onAttempt: (attempt: number) => void
}

const words: Record<Connection['state'], [text: string, colour: string]> = {
  connecting: ['Connecting', 'bg-log-muted'],
  live: ['Live', 'bg-accent'],
  reconnecting: ['Reconnecting', 'bg-warning-text'],
  ended: ['Complete', 'bg-log-muted'],
  refused: ['Not available', 'bg-danger-text'],
}

const control = 'h-7 rounded-control border border-log-line px-2.5 font-medium text-log-muted enabled:hover:border-line-strong enabled:hover:text-log-text'

/** How the log stands: connection, lines, bytes; which attempt it is of. */
export function StatusBar({ store, connection, following, onFollow, attempts, attempt, onAttempt }: Props) {
  const [text, colour] = words[connection.state]
  return (
    <div className="flex min-h-9 flex-wrap items-center gap-x-3 gap-y-1 border-t border-log-line bg-surface px-3 py-1 text-xs text-log-muted">
      <span className="inline-flex items-center gap-1.5 text-log-text">
        <span className={cn('size-2 rounded-full', colour)} aria-hidden />
        {text}
      </span>
      <span className="num" data-lines={store.last} data-bytes={store.received}>
        {counted(store.last, 'line')} · {bytes(store.received)}
      </span>
      <span className="ml-auto inline-flex items-center gap-2">
        {attempts > 1 && (
          <select
            aria-label="Attempt"
            value={attempt}
            onChange={(e) => onAttempt(Number(e.target.value))}
            className="h-7 rounded-control border border-log-line bg-log px-1.5 text-log-text"
          >
            {Array.from({ length: attempts }, (_, i) => attempts - i).map((n) => (
              <option key={n} value={n}>
                Attempt {n}
                {n === attempts ? ' (latest)' : ''}
              </option>
            ))}
          </select>
        )}
        {connection.state === 'ended' ? (
          <button type="button" disabled={following} onClick={() => onFollow(true)} className={cn(control, 'disabled:opacity-55')}>
            Go to the end
          </button>
        ) : (
          <button
            type="button"
            aria-pressed={following}
            onClick={() => onFollow(!following)}
            className={cn(control, 'aria-pressed:border-transparent aria-pressed:bg-accent-soft aria-pressed:text-accent-text')}
          >
            Follow
          </button>
        )}
      </span>
    </div>
  )
}
