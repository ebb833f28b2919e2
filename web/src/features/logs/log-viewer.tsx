import type { Schemas } from '@/api/client'
import { LogView } from './log-view'
import { download } from './save'
import type { LogSource } from './source'
import { waitingFor } from './waiting'

/** The log of a job, whichever attempt is chosen: `<LogViewer job={job} log={useLog(job)} />`. */
export function LogViewer({ job, log, className }: { job: Schemas['Job']; log: LogSource; className?: string }) {
  const { store, connection, attempt: past } = log.shown()
  const attempts = Math.max(1, job.attempt, store.attempt)
  const attempt = past || attempts
  return (
    <LogView
      key={`${job.id}/${past}`}
      store={store}
      connection={connection}
      waiting={waitingFor(job)}
      label={`Log of ${job.name}`}
      name={attempts > 1 ? `${job.id}-attempt-${attempt}` : job.id}
      attempts={attempts}
      attempt={attempt}
      onAttempt={(n) => log.choose(n === attempts ? 0 : n)}
      onDownload={() => download(job.id, past || Math.max(1, store.attempt))}
      onRetry={() => log.retry()}
      {...(className ? { className } : {})}
    />
  )
}
