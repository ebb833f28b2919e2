import { ArrowDown, Check, Copy, Link, RefreshCw, X, type LucideIcon } from 'lucide-react'
import { useEffect, useState, type ReactNode } from 'react'
import type { ApiError } from '@/api/problem'
import { count } from '@/lib/format'
import { sentence } from '@/lib/sentence'
import { formatRange, type Range } from './permalink'
import { Tool } from './tool'

const pill = 'pointer-events-auto inline-flex h-8 items-center rounded-full border border-log-line bg-surface text-[13px] text-text shadow-float'

/** Says that the connection is being made again. */
export function Reconnecting({ empty }: { empty: boolean }) {
  return (
    <output className="absolute inset-x-0 top-0 z-10 flex items-center justify-center gap-2 border-b border-log-line bg-warning-soft px-3 py-1.5 text-[13px] text-warning-text">
      <RefreshCw className="size-3.5 shrink-0 animate-spin" aria-hidden />
      {empty ? 'Connecting… the log is not lost.' : 'Reconnecting… everything that was missed will follow.'}
    </output>
  )
}

/** Says that the log cannot be read, and why. */
export function Refused({ why, onRetry }: { why: ApiError; onRetry: () => void }) {
  return (
    <div role="alert" className="absolute inset-x-0 top-0 z-10 flex flex-wrap items-center gap-x-3 gap-y-1 border-b border-log-line bg-danger-soft px-3 py-1.5 text-[13px] text-danger-text">
      <span className="min-w-0 flex-1">
        The log cannot be followed. {sentence(why.message)}
        {why.requestId && <span className="text-log-muted"> Request {why.requestId}.</span>}
      </span>
      <button type="button" onClick={onRetry} className="h-7 rounded-control border border-current px-2.5 font-medium">
        Try again
      </button>
    </div>
  )
}

/** What floats above the end of the log. */
export const Floating = ({ children }: { children: ReactNode }) => (
  <div className="pointer-events-none absolute inset-x-2 bottom-3 z-10 flex flex-col items-center gap-2">{children}</div>
)

/** Goes back to the end, and says what came there. */
export function Jump({ news, onJump }: { news: number; onJump: () => void }) {
  return (
    <button type="button" onClick={onJump} className={`${pill} gap-1.5 px-3.5 font-medium hover:border-line-strong hover:bg-hover`}>
      <ArrowDown className="size-3.5 text-accent-text" aria-hidden />
      Jump to latest
      {news > 0 && <span className="num text-log-muted">· {count(news)} new</span>}
    </button>
  )
}

/** What can be done with the lines that are chosen. */
export function Chosen({ range, absent, text, onClear }: { range: Range; absent: string | undefined; text: () => string; onClear: () => void }) {
  const one = range.from === range.to
  return (
    <div className={`${pill} gap-0.5 pr-1 pl-3.5`}>
      <span className="num mr-1 whitespace-nowrap">{one ? `Line ${count(range.from)}` : `Lines ${count(range.from)}–${count(range.to)}`}{absent && ` ${absent}`}</span>
      {!absent && <CopyTool icon={Copy} label={one ? 'Copy the line' : 'Copy the lines'} text={text} />}
      <CopyTool icon={Link} label="Copy a link to it" text={() => linkTo(range)} />
      <Tool icon={X} label="Choose none" className="size-7 rounded-full" onClick={onClear} />
    </div>
  )
}

/** Copies a text, which is made only then, and says that it did. */
function CopyTool({ icon, label, text }: { icon: LucideIcon; label: string; text: () => string }) {
  const [said, setSaid] = useState('')
  useEffect(() => {
    if (!said) return
    const timer = setTimeout(() => setSaid(''), 2000)
    return () => clearTimeout(timer)
  }, [said])
  const copy = () =>
    void navigator.clipboard.writeText(text()).then(
      () => setSaid('Copied'),
      () => setSaid('The browser does not allow copying'),
    )
  return (
    <>
      <Tool icon={said === 'Copied' ? Check : icon} label={label} className="size-7 rounded-full" onClick={copy} />
      <output className="sr-only">{said}</output>
    </>
  )
}

function linkTo(range: Range): string {
  const url = new URL(location.href)
  url.hash = formatRange(range)
  return url.href
}
