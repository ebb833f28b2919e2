// What a page took of a log, to compare with what is stored.
import { createHash } from 'node:crypto'
import { ask, url } from './browser.mjs'

/** For addInitScript: keeps what the page takes of the log, and whether it came once and
 * in order. */
export function tap() {
  const taken = { parts: [], bytes: 0, wrong: [] }
  globalThis.taken = taken
  globalThis.peergpuLogTap = {
    bytes(attempt, offset, data) {
      if (attempt !== 1 || offset !== taken.bytes) taken.wrong.push(`attempt ${attempt}: ${data.length} bytes from ${offset}, where ${taken.bytes} was due`)
      taken.parts.push(data.slice())
      taken.bytes += data.length
    },
  }
}

/** What the page took. */
export const taken = (page) =>
  page.evaluate(async () => {
    const { parts, bytes, wrong } = globalThis.taken
    const sum = await crypto.subtle.digest('SHA-256', await new Blob(parts).arrayBuffer())
    return { bytes, wrong, sha256: Array.from(new Uint8Array(sum), (b) => b.toString(16).padStart(2, '0')).join('') }
  })

/** How many bytes the page took. */
export const size = (page) => page.evaluate(() => globalThis.taken.bytes)

/** Waits until the page took that many bytes more than it had. */
export const takes = (page, had, more) => page.waitForFunction((n) => globalThis.taken.bytes >= n, had + more, { timeout: 120_000 })

/** The log of a job as the server gives it: its bytes and their sha256. */
export async function stored(job, who) {
  const answer = await fetch(`${url}/api/jobs/${job}/logs`, { headers: { Authorization: `Bearer ${who.token}` } })
  const log = Buffer.from(await answer.arrayBuffer())
  return { bytes: log.length, sha256: createHash('sha256').update(log).digest('hex') }
}

/** What the server knows of a job's log. */
export async function known(job, who) {
  const { log } = await ask(url, 'GET', `/api/jobs/${job}`, who.token)
  return { bytes: log.bytes, sha256: log.sha256 }
}
