import { Link } from '@tanstack/react-router'
import { Loading, Skeleton } from '@/components/ui/skeleton'
import { Table, Td, Th } from '@/components/ui/table'
import { Ago } from '@/components/ui/time'
import type { Schemas } from '@/api/client'
import { Cost, Runtime } from './cost'
import { gpusOf } from './gpus'
import { JobActions } from './job-actions'
import { JobState } from './job-state'

type Job = Schemas['Job']

/** Jobs as a table, or as cards where there is no room for one. */
export function JobTable({ jobs }: { jobs: Job[] }) {
  return (
    <>
      <ul className="divide-y divide-line md:hidden">
        {jobs.map((job) => (
          <li key={job.id} className="relative grid grid-cols-[minmax(0,1fr)] gap-1.5 px-4 py-3">
            <div className="flex items-center justify-between gap-3">
              <JobLink job={job} cover />
              <JobState job={job} />
            </div>
            <div className="flex items-center justify-between gap-3 text-[13px] text-muted">
              <span className="truncate">
                <Ago time={job.created_at} />
                {job.host && `, ${job.host.name}`}
              </span>
              <span className="flex items-center gap-3">
                <Runtime job={job} />
                <span className="font-medium text-text">
                  <Cost job={job} />
                </span>
                <JobActions job={job} />
              </span>
            </div>
          </li>
        ))}
      </ul>
      <Table aria-label="Jobs" className="max-md:hidden">
        <thead>
          <tr>
            <Th>Job</Th>
            <Th>State</Th>
            <Th>Host</Th>
            <Th>GPU</Th>
            <Th>Submitted</Th>
            <Th className="w-28 text-right">Ran</Th>
            <Th className="w-28 text-right">Cost</Th>
            <Th>
              <span className="sr-only">Actions</span>
            </Th>
          </tr>
        </thead>
        <tbody>
          {jobs.map((job) => (
            <tr key={job.id} className="hover:bg-sunken">
              <Td className="max-w-72">
                <JobLink job={job} />
              </Td>
              <Td>
                <JobState job={job} />
              </Td>
              <Td className="max-w-40 truncate text-muted">{job.host?.name ?? '–'}</Td>
              <Td className="whitespace-nowrap text-muted">{gpusOf(job)}</Td>
              <Td className="whitespace-nowrap text-muted">
                <Ago time={job.created_at} />
              </Td>
              <Td className="text-right">
                <Runtime job={job} />
              </Td>
              <Td className="text-right font-medium">
                <Cost job={job} />
              </Td>
              <Td className="w-12 text-right">
                <JobActions job={job} />
              </Td>
            </tr>
          ))}
        </tbody>
      </Table>
    </>
  )
}

/** The name of a job, which leads to it. A covering one takes the clicks of its row. */
const JobLink = ({ job, cover }: { job: Job; cover?: boolean }) => (
  <span className="flex min-w-0 items-baseline gap-2">
    <Link
      to="/jobs/$id"
      params={{ id: job.id }}
      className={`truncate font-medium underline-offset-4 hover:underline ${cover ? 'after:absolute after:inset-0' : ''}`}
    >
      {job.name}
    </Link>
    {job.version > 1 && <span className="num shrink-0 text-xs text-muted">v{job.version}</span>}
  </span>
)

/** What stands there until the jobs come. */
export const JobTableSkeleton = () => (
  <div className="divide-y divide-line">
    <Loading what="your jobs" />
    {Array.from({ length: 6 }, (_, i) => (
      <div key={i} className="flex h-[3.25rem] items-center justify-between gap-6 px-5">
        <Skeleton className="h-4 w-40" />
        <Skeleton className="h-4 w-20 max-md:hidden" />
        <Skeleton className="h-4 w-24" />
      </div>
    ))}
  </div>
)
