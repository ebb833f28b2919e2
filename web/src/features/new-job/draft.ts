import type { Values } from './values'
import { empty } from './values'

/** The draft of an account is not for the next one in the same browser. */
const key = (account: string | undefined) => `peergpu.new-job.${account ?? ''}`

/** Keeps what was typed in this browser until it was sent. Values of secret variables
 * and files are never in it. */
export function saveDraft(v: Values, account: string | undefined, storage: Pick<Storage, 'setItem'> = localStorage) {
  const env = v.env.map((e) => (e.secret ? { ...e, value: '' } : e))
  try {
    storage.setItem(key(account), JSON.stringify({ ...v, env }))
  } catch {
    // A full or forbidden storage keeps nobody from submitting.
  }
}

/** What was typed before, if it can still be read. */
export function readDraft(account: string | undefined, storage: Pick<Storage, 'getItem'> = localStorage): Values | undefined {
  try {
    const known = JSON.parse(storage.getItem(key(account)) ?? 'null') as Partial<Values> | null
    if (!known || typeof known !== 'object' || known.source === 'kept') return undefined
    const v: Values = { ...empty }
    for (const name of Object.keys(empty) as (keyof Values)[]) {
      if (typeof known[name] === typeof empty[name]) Object.assign(v, { [name]: known[name] })
    }
    return { ...v, env: Array.isArray(known.env) ? known.env.filter((e) => typeof e?.name === 'string' && typeof e.value === 'string') : [] }
  } catch {
    return undefined
  }
}

export function dropDraft(account: string | undefined) {
  try {
    localStorage.removeItem(key(account))
  } catch {
    // As above.
  }
}

/** What was typed, without what an offer had filled in and nobody has changed. */
export function withoutPins(v: Values, pinned: Partial<Values> = {}): Values {
  const own = { ...v }
  for (const name of Object.keys(pinned) as (keyof Values)[]) {
    if (own[name] === pinned[name]) Object.assign(own, { [name]: empty[name] })
  }
  return own
}
