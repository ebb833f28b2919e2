import { useQueryClient } from '@tanstack/react-query'
import { useNavigate } from '@tanstack/react-router'
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
  return query.useMutation('post', '/api/jobs/{id}/rerun', {
    onSuccess: (job) => {
      void client.invalidateQueries({ queryKey: ['get', '/api/jobs'] })
      void navigate({ to: '/jobs/$id', params: { id: job.id } })
    },
    onError: (e) => void notify('error', 'It could not be run again', { description: sentence(asApiError(e).message) }),
  })
}
