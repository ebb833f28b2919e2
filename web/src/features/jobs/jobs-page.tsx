import { getRouteApi, Link } from '@tanstack/react-router'
import { Plus, Search, Wallet } from 'lucide-react'
import { useEffect, useState } from 'react'
import { query, type Schemas } from '@/api/client'
import { Page } from '@/app/page'
import { Button } from '@/components/ui/button'
import { Card } from '@/components/ui/card'
import { Empty } from '@/components/ui/empty'
import { ErrorCard } from '@/components/ui/error-card'
import { Input } from '@/components/ui/input'
import { Money } from '@/components/ui/money'
import { Skeleton } from '@/components/ui/skeleton'
import { cn } from '@/lib/cn'
import { JobTable, JobTableSkeleton } from './job-table'
import { groups, type Group, type JobsSearch } from './search'
import { TopUpDialog } from './top-up'

const route = getRouteApi('/jobs/')
const page = 25

/** What a renter has: the jobs, and the money that is there for more. */
export function JobsPage() {
  const search = route.useSearch()
  const jobs = query.useInfiniteQuery(
    'get',
    '/api/jobs',
    { params: { query: { limit: page, mine: true, ...(search.state ? { state: groups[search.state].states } : {}), ...(search.q ? { q: search.q } : {}) } } },
    { pageParamName: 'after', initialPageParam: null, getNextPageParam: (last: Schemas['JobList']) => last.next },
  )
  const items = jobs.data?.pages.flatMap((p) => p.items)
  const filtered = search.state !== undefined || search.q !== undefined
  return (
    <Page
      title="Jobs"
      actions={
        <Button asChild>
          <Link to="/jobs/new">
            <Plus aria-hidden />
            New job
          </Link>
        </Button>
      }
    >
      <Credit />
      <Filters search={search} />
      <div className="min-h-80">
        {jobs.error && !items ? (
          <ErrorCard error={jobs.error} title="Your jobs could not be loaded" retry={() => void jobs.refetch()} />
        ) : !items ? (
          <Card className="overflow-hidden">
            <JobTableSkeleton />
          </Card>
        ) : items.length === 0 ? (
          <Card className="grid min-h-80 content-center">{filtered ? <NoneFound /> : <NoneYet />}</Card>
        ) : (
          <>
            <Card className="overflow-hidden">
              <JobTable jobs={items} />
            </Card>
            {jobs.hasNextPage && (
              <div className="mt-4 text-center">
                <Button variant="secondary" busy={jobs.isFetchingNextPage} onClick={() => void jobs.fetchNextPage()}>
                  Show more
                </Button>
              </div>
            )}
          </>
        )}
      </div>
    </Page>
  )
}

const NoneYet = () => (
  <Empty
    title="No jobs yet"
    action={
      <Button asChild variant="secondary">
        <Link to="/jobs/new" search={{ example: 'digits' }}>
          Run the digits example
        </Link>
      </Button>
    }
  >
    The example trains a classifier of handwritten digits in about 20 seconds and shows what a job leaves behind: a log, a model, metrics and a
    bill of a fraction of a cent.
  </Empty>
)

const NoneFound = () => (
  <Empty
    icon={<Search />}
    title="No job fits the filter"
    action={
      <Button asChild variant="secondary">
        <Link to="/jobs">Show all</Link>
      </Button>
    }
  />
)

/** What is there to spend, and what jobs hold of it. */
function Credit() {
  const account = query.useQuery('get', '/api/billing/account')
  const [open, setOpen] = useState(false)
  const a = account.data
  return (
    <Card className="mb-5 grid min-h-[4.75rem] items-center gap-x-8 gap-y-3 sm:flex px-4 py-3.5 sm:px-5">
      <dl className="grid flex-1 grid-cols-2 gap-x-8 sm:flex">
        <Figure label="Credit">{a ? <Money micros={a.balance_micros} currency={a.currency} /> : account.error ? '–' : undefined}</Figure>
        <Figure label="Held for jobs">{a ? <Money micros={a.held_micros} currency={a.currency} /> : account.error ? '–' : undefined}</Figure>
      </dl>
      <Button variant="secondary" onClick={() => setOpen(true)} disabled={!a}>
        <Wallet aria-hidden />
        Add credit
      </Button>
      <TopUpDialog open={open} onOpenChange={setOpen} />
    </Card>
  )
}

const Figure = ({ label, children }: { label: string; children: React.ReactNode }) => (
  <div>
    <dt className="text-[13px] text-muted">{label}</dt>
    <dd className="num text-lg font-semibold">{children ?? <Skeleton className="h-7 w-16" />}</dd>
  </div>
)

const typing = 300 // ms

/** The filters; the URL has them. */
function Filters({ search }: { search: JobsSearch }) {
  const navigate = route.useNavigate()
  const [text, setText] = useState(search.q ?? '')
  const [known, setKnown] = useState(search.q)
  if (known !== search.q) {
    // The URL changed by itself: somebody went back, or cleared the filter.
    setKnown(search.q)
    setText(search.q ?? '')
  }
  useEffect(() => {
    if (text === (search.q ?? '')) return
    const timer = setTimeout(() => void navigate({ search: (s) => ({ ...s, q: text || undefined }), replace: true }), typing)
    return () => clearTimeout(timer)
  }, [text, search.q, navigate])
  return (
    <div className="mb-4 flex flex-wrap items-center justify-between gap-3">
      <nav aria-label="States" className="-mx-1 flex gap-1 overflow-x-auto px-1">
        <StateLink label="All" active={!search.state} search={search} />
        {(Object.keys(groups) as Group[]).map((g) => (
          <StateLink key={g} label={groups[g].label} state={g} active={search.state === g} search={search} />
        ))}
      </nav>
      <div className="relative w-full sm:w-64">
        <Search className="pointer-events-none absolute top-2.5 left-2.5 size-4 text-muted" aria-hidden />
        <Input type="search" aria-label="Search by name or id" placeholder="Name or id" className="pl-8.5" value={text} onChange={(e) => setText(e.target.value)} />
      </div>
    </div>
  )
}

const StateLink = ({ label, state, active, search }: { label: string; state?: Group; active: boolean; search: JobsSearch }) => (
  <Link
    to="/jobs"
    search={{ ...(search.q ? { q: search.q } : {}), ...(state ? { state } : {}) }}
    aria-current={active ? 'true' : undefined}
    className={cn(
      'flex h-8 items-center rounded-control px-2.5 text-[13px] font-medium whitespace-nowrap -outline-offset-2',
      active ? 'bg-surface text-text ring-1 ring-line ring-inset' : 'text-muted hover:bg-hover hover:text-text',
    )}
  >
    {label}
  </Link>
)
