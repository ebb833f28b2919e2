import type { Schemas } from '@/api/client'

/** What an empty log of a job waits for. */
export function waitingFor(job: Pick<Schemas['Job'], 'state' | 'phase' | 'started_at'>): string {
  switch (job.state) {
    case 'pending':
      return 'The job waits for its files. Its log begins when a host runs it.'
    case 'queued':
      return 'The job waits for a host. Its log begins when one runs it.'
    case 'assigned':
      return job.phase?.name === 'starting' ? 'The host starts the command.' : 'The host fetches what the job needs. The log begins with the command.'
    case 'running':
      return 'The command runs and has not written anything yet.'
    case 'cancelling':
      return 'The job is being stopped. It has not written anything.'
    default:
      return job.started_at ? 'The command wrote nothing.' : 'It ended before its command had started.'
  }
}
