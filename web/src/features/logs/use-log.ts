import { useEffect, useState, useSyncExternalStore } from 'react'
import type { Schemas } from '@/api/client'
import { LogSource } from './source'

/** Follows a job's log, for a LogViewer. Where a page has tabs, it belongs above them:
 * the log then stays when another tab is looked at. onJob hears the job at the start and
 * whenever its state, phase or cost changed. */
export function useLog(job: Schemas['Job'], onJob?: (job: Schemas['Job']) => void): LogSource {
  const [source, setSource] = useState(() => new LogSource(job))
  if (source.job !== job.id) setSource(new LogSource(job))
  useSyncExternalStore(source.subscribe, source.shown)
  useEffect(() => source.listen(onJob))
  useEffect(() => source.start(), [source])
  return source
}
