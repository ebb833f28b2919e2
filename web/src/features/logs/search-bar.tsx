import { ArrowDown, ArrowUp, Search as SearchIcon } from 'lucide-react'
import type { RefObject } from 'react'
import { count } from '@/lib/format'
import { cn } from '@/lib/cn'
import { parseRange } from './permalink'
import type { Query, Search } from './search'
import { Tool } from './tool'

interface Props {
  input: RefObject<HTMLInputElement | null>
  query: Query
  onQuery: (query: Query) => void
  search: Search
  /** The place of the current hit among all, from 1; 0 before there is one. */
  position: number
  onStep: (by: 1 | -1) => void
  onLeave: () => void
}

/** What is looked for, and what was found. `#L120` and `#L10-L20` go to these lines. */
export function SearchBar({ input, query, onQuery, search, position, onStep, onLeave }: Props) {
  const { text } = query
  const found = search.hits.length
  const line = parseRange(text)
  return (
    <search className="flex min-w-0 flex-1 basis-72 items-center gap-0.5">
      <div className="relative min-w-0 flex-1">
        <SearchIcon className="pointer-events-none absolute top-2 left-2.5 size-4 text-log-muted" aria-hidden />
        <input
          ref={input}
          type="search"
          value={text}
          onChange={(e) => onQuery({ ...query, text: e.target.value })}
          onKeyDown={(e) => {
            if (e.key === 'Enter') onStep(e.shiftKey ? -1 : 1)
            else if (e.key === 'Escape' && text) onQuery({ ...query, text: '' })
            else if (e.key === 'Escape') onLeave()
            else return
            e.preventDefault()
            e.stopPropagation()
          }}
          aria-label="Search in the log, or go to a line such as #L120"
          aria-keyshortcuts="/"
          placeholder="Search, or #L120"
          spellCheck={false}
          autoComplete="off"
          className={cn(
            'h-8 w-full rounded-control border border-log-line bg-log pl-8 text-[13px] text-log-text placeholder:text-log-muted focus-visible:outline-offset-0 [&::-webkit-search-cancel-button]:hidden',
            text ? 'pr-24' : 'pr-2',
          )}
        />
        <output className="num pointer-events-none absolute top-0 right-2.5 text-xs leading-8 text-log-muted">
          {line && 'Enter: go there'}
          {!line && text && (
            <>
              {position > 0 && `${count(position)} of `}
              {found === 0 ? (search.done ? 'No lines' : 'Searching…') : `${count(found)}${search.done ? '' : '+'}`}
              {found > 0 && <span className="sr-only"> lines match</span>}
            </>
          )}
        </output>
      </div>
      <Tool icon={ArrowUp} label="Previous match (Shift+Enter)" disabled={found === 0} onClick={() => onStep(-1)} />
      <Tool icon={ArrowDown} label="Next match (Enter)" disabled={found === 0} onClick={() => onStep(1)} />
    </search>
  )
}
