import { getRouteApi } from '@tanstack/react-router'
import { query } from '@/api/client'
import { Page } from '@/app/page'
import { ErrorCard } from '@/components/ui/error-card'
import { Skeleton } from '@/components/ui/skeleton'
import { useWho } from '@/session'
import { readDraft } from './draft'
import { JobForm } from './job-form'
import { digits, empty, fromJob, type Values } from './values'

const route = getRouteApi('/jobs/new')

/** A new job: from nothing, from the example, from an offer, or from an earlier job. */
export function NewJobPage() {
  const search = route.useSearch()
  const account = useWho().user?.id
  const from = query.useQuery('get', '/api/jobs/{id}', { params: { path: { id: search.from ?? '' } } }, { enabled: search.from !== undefined, staleTime: Infinity })
  const pinned: Partial<Values> = { ...(search.model ? { model: search.model } : {}), ...(search.host ? { host: search.host } : {}) }
  return (
    <Page
      title={search.from ? 'Edit and run again' : 'New job'}
      lead={
        search.from
          ? `A new version${from.data ? ` of ${from.data.name}` : ''}, with the same code and what you change here.`
          : 'Your code, a command, and what it needs. The best host that fits runs it; you pay for the time that your command runs.'
      }
    >
      {search.from === undefined ? (
        <JobForm key={search.example ?? ''} initial={{ ...(search.example === 'digits' ? digits : (readDraft(account) ?? empty)), ...pinned }} pinned={pinned} example={search.example === 'digits'} />
      ) : from.data ? (
        <JobForm key={from.data.id} initial={fromJob(from.data)} earlier={from.data} />
      ) : from.error ? (
        <ErrorCard error={from.error} title="The earlier job could not be loaded" retry={() => void from.refetch()} />
      ) : (
        <Skeleton className="h-96 w-full" />
      )}
    </Page>
  )
}
