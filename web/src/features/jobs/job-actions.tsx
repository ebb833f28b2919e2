import { Link } from '@tanstack/react-router'
import { CircleStop, Ellipsis, PencilLine, RotateCw } from 'lucide-react'
import { useState } from 'react'
import type { Schemas } from '@/api/client'
import { Button } from '@/components/ui/button'
import { Dropdown, DropdownContent, DropdownItem, DropdownTrigger } from '@/components/ui/dropdown'
import { CancelDialog } from './cancel-dialog'
import { ended, useRerun } from './rerun'

type Job = Schemas['Job']

/** What can be done with a job of a list. */
export function JobActions({ job }: { job: Job }) {
  const rerun = useRerun()
  const [cancelling, setCancelling] = useState(false)
  return (
    <>
      <Dropdown>
        <DropdownTrigger asChild>
          <Button variant="quiet" size="icon" className="relative z-10 size-8" busy={rerun.isPending}>
            <Ellipsis aria-hidden />
            <span className="sr-only">Actions for {job.name}</span>
          </Button>
        </DropdownTrigger>
        <DropdownContent>
          <DropdownItem onSelect={() => rerun.again(job.id)}>
            <RotateCw aria-hidden />
            Run again
          </DropdownItem>
          <DropdownItem asChild>
            <Link to="/jobs/new" search={{ from: job.id }}>
              <PencilLine aria-hidden />
              Edit and run again
            </Link>
          </DropdownItem>
          {!ended(job) && (
            <DropdownItem danger disabled={job.state === 'cancelling'} onSelect={() => setCancelling(true)}>
              <CircleStop aria-hidden />
              Cancel
            </DropdownItem>
          )}
        </DropdownContent>
      </Dropdown>
      <CancelDialog job={job} open={cancelling} onOpenChange={setCancelling} />
    </>
  )
}
