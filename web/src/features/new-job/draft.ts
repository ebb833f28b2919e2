import type { Values } from './values'
import { empty } from './values'

const key = 'peergpu.new-job'

/** Keeps what was typed in this browser until it was sent. Values of secret variables
 * and files are never in it. */
export function saveDraft(v: Values, storage: Pick<Storage, 'setItem'> = localStorage) {
  const env = v.env.map((e) => (e.secret ? { ...e, value: '' } : e))
  try {
    storage.setItem(key, JSON.stringify({ ...v, env }))
  } catch {
    // A full or forbidden storage keeps nobody from submitting.
  }
}

/** What was typed before, if it can still be read. */
export function readDraft(storage: Pick<Storage, 'getItem'> = localStorage): Values | undefined {
  try {
    const known = JSON.parse(storage.getItem(key) ?? 'null') as Partial<Values> | null
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

export function dropDraft() {
  try {
    localStorage.removeItem(key)
  } catch {
    // As above.
  }
}
