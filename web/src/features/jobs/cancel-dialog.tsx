import { useQueryClient } from '@tanstack/react-query'
import { query, type Schemas } from '@/api/client'
import { asApiError } from '@/api/problem'
import { Button } from '@/components/ui/button'
import { Dialog, DialogClose, DialogContent, DialogFooter } from '@/components/ui/dialog'
import { useNow } from '@/lib/clock'
import { duration, money } from '@/lib/format'
import { sentence } from '@/lib/sentence'
import { useMine } from '../job/mine'
import { costAt } from './cost'
import { ended } from './rerun'

type Job = Schemas['Job']

/** Asks before a job is cancelled, and says what that costs. */
export function CancelDialog({ job, open, onOpenChange }: { job: Job; open: boolean; onOpenChange: (open: boolean) => void }) {
  const client = useQueryClient()
  const cancel = query.useMutation('post', '/api/jobs/{id}/cancel', {
    onSettled: () => {
      void client.invalidateQueries({ queryKey: ['get', '/api/jobs'] })
      void client.invalidateQueries({ queryKey: ['get', '/api/jobs/{id}'] })
    },
    onSuccess: () => onOpenChange(false),
  })
  const over = ended(job) && cancel.isIdle
  return (
    <Dialog open={open} onOpenChange={onOpenChange}>
      <DialogContent title={over ? `${job.name} has ended` : `Cancel ${job.name}?`}>
        {over ? <p className="mt-2 text-sm text-muted">It ended by itself meanwhile: there is nothing to cancel.</p> : <Consequence job={job} />}
        {cancel.error && !over && (
          <p role="alert" className="mt-3 text-sm text-danger-text">
            {sentence(asApiError(cancel.error).message)}
          </p>
        )}
        <DialogFooter>
          <DialogClose asChild>
            <Button variant="secondary">{over ? 'Close' : 'Let it run'}</Button>
          </DialogClose>
          {!over && (
            <Button variant="danger" busy={cancel.isPending} onClick={() => cancel.mutate({ params: { path: { id: job.id } } })}>
              Cancel the job
            </Button>
          )}
        </DialogFooter>
      </DialogContent>
    </Dialog>
  )
}

function Consequence({ job }: { job: Job }) {
  const { micros, ms } = costAt(job, useNow())
  const mine = useMine(job)
  if (!job.started_at || job.state === 'queued' || job.state === 'pending') {
    return <p className="mt-2 text-sm text-muted">Its command has not started: it costs nothing, and what is held for it is released.</p>
  }
  return (
    <p className="mt-2 text-sm text-muted">
      {mine ? 'You pay' : 'The renter pays'} <span className="num font-medium text-text">{money(micros, job.currency)}</span> for the {duration(Math.floor(ms / 1000) * 1000)} that it ran so far; the rest
      of what is held is released. The host has 10 seconds to stop it, and what it has written to its outputs is kept.
    </p>
  )
}
