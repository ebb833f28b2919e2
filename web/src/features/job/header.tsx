import { Link } from '@tanstack/react-router'
import { CircleStop, PencilLine, RotateCw } from 'lucide-react'
import { useState } from 'react'
import type { Schemas } from '@/api/client'
import { Button } from '@/components/ui/button'
import { CopyButton } from '@/components/ui/copy-button'
import { Ago } from '@/components/ui/time'
import { CancelDialog } from '../jobs/cancel-dialog'
import { ended, useRerun } from '../jobs/rerun'
import { JobState } from '../jobs/job-state'
import { useMine } from './mine'

/** The name of a job, how it stands, and what can be done with it. */
export function Header({ job }: { job: Schemas['Job'] }) {
  const rerun = useRerun()
  const mine = useMine(job)
  const [cancelling, setCancelling] = useState(false)
  return (
    <div className="mb-4 flex flex-wrap items-start justify-between gap-x-6 gap-y-3">
      <div className="min-w-0">
        <div className="flex flex-wrap items-center gap-x-3 gap-y-1">
          <h1 className="min-w-0 text-2xl font-semibold break-words">{job.name}</h1>
          <output aria-label="State">
            <JobState job={job} />
          </output>
        </div>
        <p className="mt-1 flex flex-wrap items-center gap-x-1.5 text-[13px] text-muted">
          <Link to="/jobs" className="underline-offset-4 hover:underline">
            Jobs
          </Link>
          <span aria-hidden>/</span>
          <code className="font-mono text-xs">{job.id.slice(0, 16)}…</code>
          <CopyButton text={job.id} label="Copy the job's id" className="-my-1.5" />
          <span>
            submitted <Ago time={job.created_at} />
            {!mine && ` by ${job.renter.handle}`}
            {job.version > 1 && `, version ${job.version}`}
          </span>
        </p>
      </div>
      <div className="flex flex-wrap gap-2 max-sm:w-full max-sm:*:flex-auto">
        {!ended(job) && (
          <Button variant="secondary" disabled={job.state === 'cancelling'} onClick={() => setCancelling(true)}>
            <CircleStop aria-hidden />
            Cancel
          </Button>
        )}
        {mine && (
          <>
            <Button asChild variant="secondary">
              <Link to="/jobs/new" search={{ from: job.id }}>
                <PencilLine aria-hidden />
                Edit and run again
              </Link>
            </Button>
            <Button
              variant={ended(job) ? 'primary' : 'secondary'}
              busy={rerun.isPending}
              onClick={() => rerun.again(job.id)}
            >
              <RotateCw aria-hidden />
              Run again
            </Button>
          </>
        )}
      </div>
      <CancelDialog job={job} open={cancelling} onOpenChange={setCancelling} />
    </div>
  )
}
