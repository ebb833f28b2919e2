/** What a reason means for whom it concerns, and what helps. */
export interface Explanation {
  title: string
  advice?: string
}

const reasons: Record<string, Explanation> = {
  exit_code: { title: 'The command failed', advice: 'The end of the log usually says why.' },
  timeout: { title: 'It ran out of time', advice: 'Run it again with a longer limit, or let it do less. What it left behind is kept.' },
  out_of_memory: { title: 'It needed more memory than it had', advice: 'Ask for more memory and run it again.' },
  too_many_processes: { title: 'It wanted more processes than a job may have', advice: 'Let it work with fewer at a time: workers of a data loader count too.' },
  disk_full: { title: 'It wrote more than its disk allows', advice: 'Ask for more disk, or write less.' },
  command_not_found: { title: 'The command does not exist there', advice: 'Check the first argument, and that your ZIP or image has it. Nothing is billed.' },
  bad_bundle: { title: 'The ZIP breaks a rule', advice: 'Pack it again and submit it anew. Nothing is billed.' },
  artifact_limit: { title: 'Its results are too large or too many', advice: 'Keep fewer or smaller files: the patterns of the outputs say which. Outputs as large as the disk need more disk.' },
  no_bundle: { title: 'Its ZIP never came', advice: 'Submit it again. Nothing is billed.' },
  expired: { title: 'No host could take it in time', advice: 'Ask for less, pay more, or wait longer. Nothing is billed.' },
  cancelled_by_renter: { title: 'You cancelled it' },
  cancelled_by_admin: { title: 'An administrator cancelled it', advice: 'Nothing is billed.' },
  host_lost: { title: 'The host fell silent', advice: 'Nothing is billed for that attempt.' },
  host_reclaimed: { title: 'The owner took the machine back', advice: 'Nothing is billed for that attempt.' },
  agent_restarted: { title: 'The host restarted', advice: 'Nothing is billed for that attempt.' },
  host_error: { title: 'The host failed', advice: 'Nothing is billed for that attempt.' },
  fetch_failed: { title: 'The host could not fetch its files', advice: 'Nothing is billed for that attempt.' },
  upload_failed: { title: 'The host could not deliver the results', advice: 'Nothing is billed for that attempt.' },
  rejected: { title: 'The host declined it', advice: 'Another one is looked for.' },
  funds_exhausted: { title: 'It reached the most it may cost', advice: 'Raise that limit and run it again. What it left behind is kept.' },
  payment_failed: { title: 'The payment failed' },
  payment_action_needed: { title: 'The bank asks you to confirm' },
}

/** A reason in words; one that is not known here is shown as it is. */
export function explain(reason: string): Explanation {
  return reasons[reason] ?? { title: reason.replaceAll('_', ' ') }
}

const events: Record<string, string> = {
  'jobs.submitted': 'Submitted',
  'jobs.queued': 'Waits for a host',
  'jobs.assigned': 'A host was chosen',
  'jobs.accepted': 'The host accepted',
  'jobs.running': 'The command started',
  'jobs.exited': 'The command ended',
  'jobs.lost': 'The attempt was lost',
  'jobs.cancelling': 'Cancel was asked for',
  'jobs.succeeded': 'Succeeded',
  'jobs.failed': 'Failed',
  'jobs.cancelled': 'Cancelled',
}

/** What happened, in words. */
export const eventWord = (type: string): string => events[type] ?? type.replace(/^jobs\./, '').replaceAll('_', ' ')

/** The metrics of a job that are worth a table: figures and short texts, by their path. */
export function figures(metrics: Record<string, unknown>, prefix = ''): [string, string][] {
  return Object.entries(metrics).flatMap(([key, value]): [string, string][] => {
    const name = prefix ? `${prefix}.${key}` : key
    if (typeof value === 'number') return [[name, Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(6)))]]
    if (typeof value === 'string' && value.length <= 80) return [[name, value]]
    if (typeof value === 'boolean') return [[name, value ? 'yes' : 'no']]
    if (value && typeof value === 'object' && !Array.isArray(value)) return figures(value as Record<string, unknown>, name)
    return []
  })
}
