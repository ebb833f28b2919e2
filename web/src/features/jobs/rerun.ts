import { useQueryClient } from '@tanstack/react-query'
import { useNavigate } from '@tanstack/react-router'
import { useRef } from 'react'
import { query, type Schemas } from '@/api/client'
import { asApiError } from '@/api/problem'
import { notify } from '@/components/ui/toast'
import { sentence } from '@/lib/sentence'

/** Whether nothing can change any more. */
export const ended = (job: Pick<Schemas['Job'], 'state'>): boolean => job.state === 'succeeded' || job.state === 'failed' || job.state === 'cancelled'

/** Submits a job again and goes to the new one. */
export function useRerun() {
  const navigate = useNavigate()
  const client = useQueryClient()
  // One intent has one key: while nobody knows what became of the first try, another one
  // must not run and bill the job twice.
  const key = useRef(crypto.randomUUID())
  const { mutate, isPending } = query.useMutation('post', '/api/jobs/{id}/rerun', {
    onSuccess: (job) => {
      key.current = crypto.randomUUID()
      void client.invalidateQueries({ queryKey: ['get', '/api/jobs'] })
      void navigate({ to: '/jobs/$id', params: { id: job.id } })
    },
    onError: (e) => {
      if (asApiError(e).status !== 0) key.current = crypto.randomUUID()
      void notify('error', 'It could not be run again', { description: sentence(asApiError(e).message) })
    },
  })
  return { isPending, again: (id: string) => mutate({ params: { path: { id }, header: { 'Idempotency-Key': key.current } } }) }
}
