import { memo } from 'react'
import { cn } from '@/lib/cn'
import { look } from './colour'
import { overText, rowHeight } from './layout'
import type { Line } from './parser'
import { segments } from './segments'
import { formatTime, type Times } from './times'

interface Props {
  line: Line
  /** Where it is, and how high, in px. */
  y: number
  rows: number
  /** Cells of the gutter, and of a row's text; 0 where lines do not wrap. */
  gutter: number
  columns: number
  times: Times
  began: number
  pattern: RegExp | undefined
  /** It is one of the lines that the link names. */
  marked: boolean
  /** It is the hit that the search stands at. */
  current: boolean
}

/** A line. Its number is drawn by CSS, so that it is not selected with the text. */
export const Row = memo(function Row({ line, y, rows, gutter, columns, times, began, pattern, marked, current }: Props) {
  return (
    <div
      className={cn('absolute left-0 flex min-w-full', marked ? 'bg-[#2b2817]' : current && 'bg-[#1d2733]')}
      style={{ top: y, height: rows * rowHeight }}
    >
      <span
        data-n={line.n}
        className={cn(
          'sticky left-0 z-1 shrink-0 cursor-pointer bg-log pr-[1ch] text-right text-log-muted select-none before:content-[attr(data-n)] hover:text-log-text',
          marked && 'bg-[#2b2817] text-log-text shadow-[inset_2px_0_var(--color-warning-text)]',
          current && !marked && 'bg-[#1d2733] text-log-text',
        )}
        style={{ width: `${gutter}ch` }}
      />
      {times !== 'off' && (
        <span className="shrink-0 pr-[2ch] text-log-muted select-none" style={{ width: '15ch' }} title={line.at ? new Date(line.at).toISOString() : undefined}>
          {formatTime(line.at, times, began)}
        </span>
      )}
      <span
        className={cn('[unicode-bidi:isolate]', columns ? 'overflow-hidden [line-break:anywhere] whitespace-break-spaces' : 'whitespace-pre')}
        style={columns ? { width: `${columns + 0.5}ch` } : undefined}
      >
        <Text line={line} pattern={pattern} current={current} />
        {line.over > 0 && <em className="text-warning-text not-italic">{overText(line.over)}</em>}
      </span>
    </div>
  )
})

function Text({ line, pattern, current }: { line: Line; pattern: RegExp | undefined; current: boolean }) {
  if (!line.spans && !pattern) return line.text
  return segments(line, pattern).map((s, i) =>
    s.hit ? (
      <mark key={i} className={cn('rounded-xs text-log', current ? 'bg-[#ffb454]' : 'bg-[#e6d37a]')}>
        {s.text}
      </mark>
    ) : (
      <span key={i} style={look(s.style)}>
        {s.text}
      </span>
    ),
  )
}
