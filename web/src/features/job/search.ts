/** The parts of a job's page. */
export const tabs = ['log', 'results', 'details', 'bill'] as const
export type JobTab = (typeof tabs)[number]

/** Reads which part is looked at from the URL. */
export const readJobSearch = (search: Record<string, unknown>): { tab?: JobTab } => ({
  tab: tabs.includes(search.tab as JobTab) && search.tab !== 'log' ? (search.tab as JobTab) : undefined,
})
