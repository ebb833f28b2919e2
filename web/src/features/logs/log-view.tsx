import { useEffect, useEffectEvent, useLayoutEffect, useRef, useState, useSyncExternalStore } from 'react'
import { cn } from '@/lib/cn'
import { bytes, count, counted } from '@/lib/format'
import { cells } from './cells'
import type { Connection } from './feed'
import type { Shown } from './layout'
import { Chosen, Floating, Jump, Reconnecting, Refused } from './overlays'
import { extend, parseRange, type Range } from './permalink'
import { Row } from './row'
import { save, textOf } from './save'
import { from, Search } from './search'
import { SearchBar } from './search-bar'
import { StatusBar } from './status-bar'
import type { LogStore } from './store'
import type { Times } from './times'
import { Tools } from './tools'
import { useChosen } from './use-chosen'
import { useFullScreen, useRemembered, useSummary } from './use-state'
import { Viewport } from './viewport'

export interface LogViewProps {
  store: LogStore
  connection: Connection
  /** What a log without lines waits for. */
  waiting: string
  /** Its name for screen readers, and for a file of what is shown. */
  label: string
  name: string
  attempts: number
  attempt: number
  onAttempt: (attempt: number) => void
  onDownload: () => Promise<void>
  onRetry: () => void
  className?: string
}

const cellsOfTime = 15
const edge = 8 // px above the first row and below the last
const notice = 36 // px of a sentence in place of lines

/** A log as one reads it: follow, search, times, wrapping, links to lines. Of however
 * many lines, those in view are drawn. */
export function LogView(props: LogViewProps) {
  const { store, connection, label } = props
  useSyncExternalStore(store.subscribe, store.version)

  const root = useRef<HTMLElement>(null)
  const input = useRef<HTMLInputElement>(null)
  const { full, toggle } = useFullScreen(root)
  const [times, setTimes] = useRemembered<Times>('times', ['off', 'relative', 'utc'], 'off')
  const [wrap, setWrap] = useRemembered<'on' | 'off'>('wrap', ['on', 'off'], 'off')
  const [chosen, choose] = useChosen(props.attempt, props.attempts, props.onAttempt)

  const [query, setQuery] = useState({ text: '', caseSensitive: false })
  const [filter, setFilter] = useState(false)
  const [current, setCurrent] = useState(0) // number of the line that the search stands at
  const goto = parseRange(query.text)
  const [search] = useState(() => new Search(store))
  useSyncExternalStore(search.subscribe, search.version)
  useEffect(() => () => search.find({ text: '', caseSensitive: false }), [search])
  const find = (next: typeof query) => {
    setQuery(next)
    setCurrent(0)
    search.find(parseRange(next.text) ? { ...next, text: '' } : next)
  }

  const [viewport] = useState(() => new Viewport(!chosen))
  useSyncExternalStore(viewport.subscribe, viewport.version)
  const gutter = Math.max(4, String(store.last).length + 2)
  const before = gutter + (times === 'off' ? 0 : cellsOfTime)
  const columns = wrap === 'on' && viewport.cell > 0 ? Math.max(10, Math.floor(viewport.width / viewport.cell - before - 1.5)) : 0
  const shown = linesOf(store, filter ? search : undefined)
  const { rows, ...laid } = viewport.lay({
    shown,
    columns,
    above: edge + (store.dropped > 0 ? notice : 0),
    below: edge + (store.complete && store.count > 0 ? notice : 0),
    open: !store.complete,
  })
  useLayoutEffect(() => viewport.settle())

  const { hits } = search
  const reveal = (n: number) => {
    if (filter && hits[from(hits, n)] !== n) setFilter(false)
    viewport.reveal(n, columns ? 0 : before, columns ? [0, 0] : cellsOf(store.line(n)?.text ?? '', search.pattern))
  }
  const toChosen = useEffectEvent(() => {
    const range = parseRange(location.hash)
    if (range && (range.attempt ?? props.attempt) === props.attempt) viewport.reveal(range.from)
  })
  useEffect(() => {
    const show = () => toChosen()
    show()
    window.addEventListener('hashchange', show)
    return () => window.removeEventListener('hashchange', show)
  }, [])

  const toRegion = () => root.current?.querySelector<HTMLElement>('[role=log]')?.focus()
  const stepTo = (by: 1 | -1) => {
    if (goto) {
      choose(goto)
      reveal(goto.from)
      find({ ...query, text: '' })
      toRegion()
      return
    }
    if (hits.length === 0) return
    const start = current || viewport.top
    const next = by > 0 ? from(hits, current ? start + 1 : start) : from(hits, start) - 1
    const n = hits[(next + hits.length) % hits.length] ?? 0
    setCurrent(n)
    reveal(n)
  }

  const onKey = useEffectEvent((e: KeyboardEvent) => {
    if (e.target !== e.currentTarget || e.ctrlKey || e.metaKey || e.altKey) return
    if (e.key === '/') input.current?.focus()
    else if (e.key === 'n') stepTo(1)
    else if (e.key === 'N') stepTo(-1)
    else if (e.key === 'Escape' && chosen) choose(undefined)
    else return
    e.preventDefault()
    e.stopPropagation()
  })
  const onClick = useEffectEvent((e: MouseEvent) => {
    const n = Number((e.target as HTMLElement).dataset.n ?? 0)
    if (n > 0) choose(e.shiftKey ? extend(chosen, n) : chosen?.from === n && chosen.to === n ? undefined : { from: n, to: n })
  })
  const [region, setRegion] = useState<HTMLElement | null>(null)
  useLayoutEffect(() => {
    if (!region) return
    const detach = viewport.attach(region)
    region.addEventListener('keydown', onKey)
    region.addEventListener('click', onClick)
    return () => {
      detach()
      region.removeEventListener('keydown', onKey)
      region.removeEventListener('click', onClick)
    }
  }, [region, viewport])

  const chosenText = () => {
    const lines: string[] = []
    for (let n = Math.max(chosen?.from ?? 1, store.dropped + 1); n <= Math.min(chosen?.to ?? 0, store.last); n++) lines.push(store.line(n)?.text ?? '')
    return lines.join('\n')
  }

  const summary = useSummary(store)
  const [failure, setFailure] = useState('')
  const downloadAll = () => {
    setFailure('')
    props.onDownload().catch((error: Error) => setFailure(error.message))
  }

  const drawn = []
  for (let i = laid.first; i < laid.last; i++) {
    const line = shown.at(i)
    if (!line) continue
    drawn.push(
      <Row
        key={line.n}
        line={line}
        y={laid.y(rows.top(i))}
        rows={rows.height(i)}
        gutter={gutter}
        columns={columns}
        times={times}
        began={store.began}
        pattern={search.pattern}
        marked={chosen !== undefined && line.n >= chosen.from && line.n <= chosen.to}
        current={line.n === current}
      />,
    )
  }

  return (
    <section
      ref={root}
      aria-label={label}
      data-theme="dark"
      data-log-viewer
      className={cn(
        'flex h-[70dvh] min-h-80 flex-col overflow-hidden rounded-card border border-log-line bg-log text-log-text',
        props.className,
        full !== 'no' && 'h-dvh rounded-none border-0',
        full === 'page' && 'fixed inset-0 z-50',
      )}
    >
      <div className="flex flex-wrap items-center gap-x-2 gap-y-1.5 border-b border-log-line bg-surface p-1.5">
        <SearchBar
          input={input}
          query={query}
          onQuery={find}
          search={search}
          position={current ? from(hits, current) + 1 : 0}
          onStep={stepTo}
          onLeave={toRegion}
        />
        <Tools
          caseSensitive={query.caseSensitive}
          onCase={(on) => find({ ...query, caseSensitive: on })}
          filter={filter}
          onFilter={setFilter}
          times={times}
          onTimes={setTimes}
          wrap={wrap === 'on'}
          onWrap={(on) => setWrap(on ? 'on' : 'off')}
          lines={shown.count}
          onDownload={downloadAll}
          onSave={() => save(`${props.name}.txt`, textOf(shown))}
          onCopy={() => void navigator.clipboard.writeText(textOf(shown)).catch(() => setFailure('the browser does not allow copying.'))}
          full={full !== 'no'}
          onFull={toggle}
        />
      </div>

      <div className="relative min-h-0 flex-1">
        <div
          ref={setRegion}
          role="log"
          aria-live="off"
          aria-label={label}
          // oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- it scrolls, also by keys
          tabIndex={0}
          // Sizes are read as soon as they are set: nothing may be under way.
          className="peer absolute inset-0 overflow-auto **:transition-none font-mono text-[13px] leading-5 outline-none [overflow-anchor:none]"
        >
          <div
            className="relative"
            style={{ height: laid.height, minWidth: '100%', width: columns ? '100%' : `calc(${before + store.widest + 2}ch)` }}
          >
            {store.dropped > 0 && laid.first === 0 && (
              <p className="sticky left-0 w-fit px-3 pt-2 font-sans text-log-muted">
                {count(store.dropped)} earlier lines dropped from view:{' '}
                <button type="button" onClick={downloadAll} className="min-h-6 text-accent-text underline underline-offset-4">
                  download the full log
                </button>
              </p>
            )}
            {drawn}
            {store.complete && store.count > 0 && laid.last === shown.count && (
              <p className="absolute left-0 px-3 font-sans leading-9 text-log-muted" style={{ top: laid.y(rows.total) }}>
                End of the log · {counted(store.last, 'line')}, {bytes(store.received)}
              </p>
            )}
          </div>
        </div>

        {/* Lines would cover an outline of the region itself. */}
        <div className="pointer-events-none absolute inset-0 z-2 -outline-offset-2 outline-accent-text peer-focus-visible:outline-2" />
        {shown.count === 0 && <Empty text={emptyText(props, filter && search.pattern !== undefined)} busy={connection.state === 'connecting'} />}
        {connection.state === 'refused' ? <Refused why={connection.why} onRetry={props.onRetry} /> : connection.state === 'reconnecting' && <Reconnecting empty={store.received === 0} />}
        <Floating>
          {!viewport.following && shown.count > 0 && (!store.complete || store.last > viewport.seen) && (
            <Jump news={viewport.seen > 0 ? Math.max(0, store.last - viewport.seen) : 0} onJump={() => viewport.latest()} />
          )}
          {failure && (
            <p role="alert" className="pointer-events-auto rounded-control bg-danger-soft px-3 py-1.5 text-[13px] text-danger-text">
              It did not work: {failure}
            </p>
          )}
          {chosen && <Chosen range={chosen} absent={absent(store, chosen)} text={chosenText} onClear={() => choose(undefined)} />}
        </Floating>
      </div>

      <StatusBar
        store={store}
        connection={connection}
        following={viewport.following}
        onFollow={(on) => (on ? viewport.latest() : viewport.stop())}
        attempts={props.attempts}
        attempt={props.attempt}
        onAttempt={props.onAttempt}
      />
      <output aria-live="polite" className="sr-only">
        {summary}
      </output>
    </section>
  )
}

/** Why nothing of a range can be shown. */
function absent(store: LogStore, range: Range): string | undefined {
  if (range.to <= store.dropped) return 'dropped from view: download the log'
  return store.complete && range.from > store.last ? 'not in this log' : undefined
}

/** All lines, or those that a search found. */
function linesOf(store: LogStore, search: Search | undefined): Shown {
  const key = `${store.epoch}/${store.dropped}`
  if (!search?.pattern) return { count: store.count, at: (i) => store.at(i), key, filtered: false }
  const { hits } = search
  return { count: hits.length, at: (i) => store.line(hits[i] ?? 0), key: `${key}${search.pattern}`, filtered: true }
}

/** From which cell to which a pattern is first found in a text. */
function cellsOf(text: string, pattern: RegExp | undefined): [number, number] {
  const found = pattern && text.matchAll(pattern).next().value
  if (!found) return [0, 0]
  const start = cells(text.slice(0, found.index))
  return [start, start + cells(found[0])]
}

const Empty = ({ text, busy }: { text: string; busy: boolean }) => (
  <p className="pointer-events-none absolute inset-0 grid place-items-center px-6 text-center text-sm text-balance text-log-muted">
    <span className={busy ? 'animate-pulse' : undefined}>{text}</span>
  </p>
)

function emptyText({ connection, store, waiting }: LogViewProps, filtered: boolean): string {
  if (filtered && store.count > 0) return 'No line matches.'
  if (connection.state === 'connecting') return 'The log is being opened…'
  return connection.state === 'refused' ? '' : waiting
}
