import type { Schemas } from '@/api/client'
import { useWho } from '@/session'

/** Whether a job is the account's own, and not one that an administrator looks at. */
export const useMine = (job: Schemas['Job']): boolean => job.renter.id === useWho().user?.id
