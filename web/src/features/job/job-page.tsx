import { useQueryClient } from '@tanstack/react-query'
import { getRouteApi } from '@tanstack/react-router'
import { lazy, Suspense, useEffect } from 'react'
import { query, type Schemas } from '@/api/client'
import { ApiError } from '@/api/problem'
import { NotFoundPage } from '@/app/error-page'
import { Page, Title } from '@/app/page'
import { ErrorCard } from '@/components/ui/error-card'
import { Skeleton } from '@/components/ui/skeleton'
import { Tab, TabList, TabPanel, Tabs } from '@/components/ui/tabs'
import { count } from '@/lib/format'
import { stateWord } from '../jobs/job-state'
import { ended } from '../jobs/rerun'
import { LogViewer } from '../logs/log-viewer'
import { useLog } from '../logs/use-log'
import { Facts } from './facts'
import { Header } from './header'
import { Notice } from './notice'
import { tabs, type JobTab } from './search'
import { Timeline } from './timeline'

type Job = Schemas['Job']

// Most people come for the log.
const Results = lazy(() => import('./results').then((m) => ({ default: m.Results })))
const Details = lazy(() => import('./details').then((m) => ({ default: m.Details })))
const Bill = lazy(() => import('./bill').then((m) => ({ default: m.Bill })))

const route = getRouteApi('/jobs/$id')

/** A job: what it does, what it printed, what it left, and what it costs. */
export function JobPage() {
  const { id } = route.useParams()
  const job = query.useQuery('get', '/api/jobs/{id}', { params: { path: { id } } }, { refetchInterval: (q) => (q.state.data?.state === 'queued' ? 5000 : false) })
  // What is not there, or somebody else's, is the page for that.
  if (job.error instanceof ApiError && [400, 404, 422].includes(job.error.status)) return <NotFoundPage />
  if (job.data) return <Loaded key={id} job={job.data} />
  return (
    <Page title="Job">
      {job.error ? (
        <ErrorCard error={job.error} title="The job could not be loaded" retry={() => void job.refetch()} />
      ) : (
        <div className="grid gap-5 lg:grid-cols-[minmax(0,1fr)_20rem]">
          <Skeleton className="h-dvh min-h-[32rem] w-full" />
          <Skeleton className="h-80 w-full max-lg:hidden" />
        </div>
      )}
    </Page>
  )
}

function Loaded({ job }: { job: Job }) {
  const { tab = 'log' } = route.useSearch()
  const navigate = route.useNavigate()
  const client = useQueryClient()
  const log = useLog(job, (fresh) => learn(client, job.id, fresh))
  const word = stateWord(job)
  useFavicon(job)
  return (
    <div className="container-page py-6 sm:py-8">
      <Title>{`${job.name}: ${word}`}</Title>
      <Header job={job} />
      <Notice job={job} />
      <div className="grid items-start gap-5 lg:grid-cols-[minmax(0,1fr)_20rem]">
        <Tabs value={tab} onValueChange={(t) => void navigate({ search: { tab: t === 'log' ? undefined : (t as JobTab) }, replace: true })} className="min-w-0">
          <TabList aria-label="Parts of the job">
            {tabs.map((t) => (
              <Tab key={t} value={t}>
                {labels[t]}
                {t === 'results' && job.artifacts.count > 0 && <span className="num ml-1.5 text-muted">{count(job.artifacts.count)}</span>}
              </Tab>
            ))}
          </TabList>
          <TabPanel value="log">
            <LogViewer job={job} log={log} className="h-[max(24rem,calc(100dvh-17rem))]" />
          </TabPanel>
          <Suspense fallback={<Skeleton className="mt-4 h-64 w-full" />}>
            <TabPanel value="results">
              <Results job={job} />
            </TabPanel>
            <TabPanel value="details">
              <Details job={job} />
            </TabPanel>
            <TabPanel value="bill">
              <Bill job={job} />
            </TabPanel>
          </Suspense>
        </Tabs>
        <aside aria-label="How it stands" className="grid gap-5">
          <Facts job={job} />
          <Timeline job={job} />
        </aside>
      </div>
    </div>
  )
}

const labels: Record<JobTab, string> = { log: 'Log', results: 'Results', details: 'Details', bill: 'Bill' }

/** Puts what the job's socket tells into the cache. Values of variables are not told
 * there; what was read stays. What follows from a change is read anew. */
function learn(client: ReturnType<typeof useQueryClient>, id: string, fresh: Job) {
  const key = ['get', '/api/jobs/{id}', { params: { path: { id } } }]
  const known = client.getQueryData<Job>(key)
  client.setQueryData<Job>(key, (old) => (old ? { ...old, ...fresh, env: old.env } : fresh))
  if (known && known.state === fresh.state && known.attempt === fresh.attempt && known.phase?.name === fresh.phase?.name) return
  for (const path of ['/api/jobs/{id}/events', '/api/jobs/{id}/artifacts', '/api/jobs/{id}/statement', '/api/billing/account']) {
    void client.invalidateQueries({ queryKey: ['get', path] })
  }
}

const dots = { succeeded: '#16a34a', failed: '#dc2626', cancelled: '#64748b', active: '#2563eb' }

/** Shows in the browser's tab how the job stands, for who looks at another one. */
function useFavicon(job: Pick<Job, 'state'>) {
  const colour = ended(job) ? dots[job.state as 'succeeded' | 'failed' | 'cancelled'] : dots.active
  useEffect(() => {
    const link = document.querySelector<HTMLLinkElement>('link[rel="icon"]')
    if (!link) return
    const before = link.href
    link.href = `data:image/svg+xml,${encodeURIComponent(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><circle cx="8" cy="8" r="7" fill="${colour}"/></svg>`)}`
    return () => {
      link.href = before
    }
  }, [colour])
}
