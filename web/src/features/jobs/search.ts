import type { Schemas } from '@/api/client'

type State = Schemas['JobState']

/** The groups of states that the dashboard filters by. */
export const groups = {
  active: { label: 'Active', states: ['pending', 'queued', 'assigned', 'running', 'cancelling'] },
  succeeded: { label: 'Succeeded', states: ['succeeded'] },
  failed: { label: 'Failed', states: ['failed'] },
  cancelled: { label: 'Cancelled', states: ['cancelled'] },
} satisfies Record<string, { label: string; states: State[] }>

export type Group = keyof typeof groups

/** What the URL of the dashboard says. */
export interface JobsSearch {
  state?: Group
  q?: string
}

/** Reads the dashboard's filters from the URL. What makes no sense is undefined, not
 * absent: the router lays what it gets here over what is in the URL. */
export function readJobsSearch({ state, q }: Record<string, unknown>): JobsSearch {
  return {
    state: typeof state === 'string' && Object.hasOwn(groups, state) ? (state as Group) : undefined,
    q: (typeof q === 'string' || typeof q === 'number') && q !== '' ? String(q).slice(0, 200) : undefined,
  }
}

/** What the URL of the job form says. */
export interface NewJobSearch {
  from?: string
  example?: 'digits'
  model?: string
  host?: string
}

/** Reads what the form begins with from the URL; what makes no sense is undefined, as
 * above. */
export function readNewJobSearch({ from, example, model, host }: Record<string, unknown>): NewJobSearch {
  return {
    from: typeof from === 'string' && /^job_[0-9a-f]{32}$/.test(from) ? from : undefined,
    example: example === 'digits' ? example : undefined,
    model: typeof model === 'string' && model !== '' && model.length <= 100 ? model : undefined,
    host: typeof host === 'string' && /^hst_[0-9a-f]{32}$/.test(host) ? host : undefined,
  }
}
