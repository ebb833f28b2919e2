import { keepPreviousData } from '@tanstack/react-query'
import { getRouteApi, Link } from '@tanstack/react-router'
import { Search, SlidersHorizontal, X } from 'lucide-react'
import { useLayoutEffect, useRef, useState } from 'react'
import { query, type Schemas } from '@/api/client'
import { Page } from '@/app/page'
import { Button } from '@/components/ui/button'
import { Card } from '@/components/ui/card'
import { Empty } from '@/components/ui/empty'
import { ErrorCard } from '@/components/ui/error-card'
import { Select } from '@/components/ui/select'
import { Loading, Skeleton } from '@/components/ui/skeleton'
import { cn } from '@/lib/cn'
import { counted } from '@/lib/format'
import { Filters } from './filters'
import { OfferTable } from './offer-table'
import { chips, sorts, toQuery, type MarketSearch, type Sort } from './search'

const route = getRouteApi('/gpus')
const page = 25

/** Every GPU that is on offer, for everybody. */
export function MarketPage() {
  const search = route.useSearch()
  const [open, setOpen] = useState(false)
  const bar = useRef<HTMLDivElement>(null)
  useLayoutEffect(() => {
    if (open) bar.current?.scrollIntoView()
  }, [open])
  const offers = query.useInfiniteQuery(
    'get',
    '/api/market/offers',
    { params: { query: { ...toQuery(search), limit: page } } },
    {
      pageParamName: 'after',
      initialPageParam: null,
      getNextPageParam: (last: Schemas['OfferList']) => last.next,
      placeholderData: keepPreviousData,
      refetchInterval: 15_000,
    },
  )
  const first = offers.data?.pages[0]
  const items = offers.data?.pages.flatMap((p) => p.items)
  return (
    <Page title="GPUs" lead="What hosts offer now. Prices are for each GPU and hour, and only the time that a command runs is paid.">
      <div className="grid items-start gap-x-5 gap-y-3 lg:grid-cols-[15rem_minmax(0,1fr)] lg:grid-rows-[auto_1fr]">
        <div ref={bar} className="flex min-w-0 flex-wrap items-center justify-between gap-3 lg:col-start-2">
          <output className="num text-sm text-muted">
            {first ? counted(first.total, 'offer') : <Skeleton className="h-5 w-16" />}
          </output>
          <div className="flex items-center gap-2">
            <Button variant="secondary" className="lg:hidden" aria-expanded={open} aria-controls="filters" onClick={() => setOpen(!open)}>
              <SlidersHorizontal aria-hidden />
              Filters
            </Button>
            <SortBy search={search} />
          </div>
        </div>
        <div
          id="filters"
          className={cn(
            'max-lg:mb-2 max-lg:rounded-card max-lg:border max-lg:border-line max-lg:bg-surface max-lg:p-4 lg:sticky lg:top-20 lg:col-start-1 lg:row-span-2 lg:row-start-1 lg:block',
            !open && 'max-lg:hidden',
          )}
        >
          <Filters search={search} facets={first?.facets} />
        </div>
        <div className="min-w-0 lg:col-start-2">
          <Chips search={search} />
          {offers.error && !items ? (
            <ErrorCard error={offers.error} title="The market could not be read" retry={() => void offers.refetch()} />
          ) : !items || !first ? (
            <Card className="grid gap-3 p-5">
              <Loading what="the offers" />
              {Array.from({ length: 8 }, (_, i) => (
                <Skeleton key={i} className="h-8 w-full" />
              ))}
            </Card>
          ) : items.length === 0 ? (
            <Card>
              <NoneFound search={search} />
            </Card>
          ) : (
            <div className={cn(offers.isPlaceholderData && 'stale')} aria-busy={offers.isPlaceholderData}>
              <Card className="overflow-hidden">
                <OfferTable offers={items} />
              </Card>
              {offers.hasNextPage && (
                <div className="mt-4 text-center">
                  <Button variant="secondary" busy={offers.isFetchingNextPage} onClick={() => void offers.fetchNextPage()}>
                    Show more
                  </Button>
                </div>
              )}
            </div>
          )}
        </div>
      </div>
    </Page>
  )
}

function SortBy({ search }: { search: MarketSearch }) {
  const navigate = route.useNavigate()
  return (
    <Select
      aria-label="Sort by"
      className="w-44"
      value={search.sort ?? 'price'}
      onChange={(e) => void navigate({ search: { ...search, sort: e.target.value === 'price' ? undefined : (e.target.value as Sort) } })}
    >
      {Object.entries(sorts).map(([value, label]) => (
        <option key={value} value={value}>
          {label}
        </option>
      ))}
    </Select>
  )
}

function Chips({ search }: { search: MarketSearch }) {
  const set = chips(search)
  if (set.length === 0) return null
  return (
    <ul aria-label="Filters that are set" className="mb-3 flex flex-wrap items-center gap-1.5">
      {set.map((c) => (
        <li key={c.key} className="max-w-full">
          <Link
            to="/gpus"
            search={c.without}
            className="inline-flex h-7 max-w-full items-center gap-1.5 rounded-full bg-surface pr-2 pl-3 text-[13px] ring-1 ring-line ring-inset hover:bg-hover"
          >
            <span className="truncate">{c.label}</span>
            <X className="size-3.5 shrink-0 text-muted" aria-hidden />
            <span className="sr-only">(remove)</span>
          </Link>
        </li>
      ))}
      <li>
        <Link to="/gpus" search={search.sort ? { sort: search.sort } : {}} className="block px-2 text-[13px] text-accent-text underline underline-offset-4">
          Clear all
        </Link>
      </li>
    </ul>
  )
}

/** Which single filter keeps the most offers away. */
function NoneFound({ search }: { search: MarketSearch }) {
  const set = chips(search)
  if (set.length === 0) {
    return (
      <Empty title="Nothing is on offer at the moment">
        Hosts come and go. A job that is submitted now waits for one that fits, and costs nothing while it waits.
      </Empty>
    )
  }
  return (
    <Empty icon={<Search />} title="No offer fits all of that">
      <ul className="mt-2 grid gap-1">
        {set.map((c) => (
          <Relaxation key={c.key} label={c.label} without={c.without} />
        ))}
      </ul>
    </Empty>
  )
}

function Relaxation({ label, without }: { label: string; without: MarketSearch }) {
  const { data } = query.useQuery('get', '/api/market/offers', { params: { query: { ...toQuery(without), limit: 1 } } })
  if (!data || data.total === 0) return null
  return (
    <li className="wrap-anywhere">
      <Link to="/gpus" search={without} className="text-accent-text underline underline-offset-4">
        Without {label}: {counted(data.total, 'offer')}
      </Link>
    </li>
  )
}
