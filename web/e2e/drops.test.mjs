// A log is followed over a connection that breaks while the job prints.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { account, ask, url, visit } from './browser.mjs'
import { droppable } from './droppable.mjs'
import { credit, machine, submit, until } from './machine.mjs'
import { known, size, stored, taken, takes, tap } from './tap.mjs'

const jobs = 4
const viewers = 5 // of each job, at once
const lines = 100_000
const first = Buffer.byteLength(Array.from({ length: lines }, (_, i) => `line ${i + 1}\n`).join(''))
const patience = { timeout: 120_000 }

/** Breaks the log's socket, sees the page say so, and go on over another. */
async function drop(page, network) {
  const before = network.sockets
  assert.equal(network.drop(), 1, 'sockets that were broken')
  const banner = page.getByText('Reconnecting… everything that was missed will follow.')
  await banner.waitFor(patience)
  const had = await size(page)
  network.mend()
  await banner.waitFor({ state: 'hidden', ...patience })
  assert.equal(network.sockets, before + 1, 'sockets that were opened')
  await takes(page, had, 1)
}

/** Opens the page of a job and breaks its socket twice, at other bytes in each round. */
async function follow(t, network, who, job, round) {
  const page = await visit(t, '/robots.txt', { site: network.url, as: who })
  await page.addInitScript(tap)
  await page.goto(`/jobs/${job}`)
  await takes(page, 0, 1 + 70_001 * round)
  await drop(page, network)
  await takes(page, await size(page), 1 + 1009 * round)
  await drop(page, network)
  return page
}

test(`the bytes in the page equal the stored log though its socket breaks twice, ${jobs * viewers} times of ${jobs * viewers}`, async (t) => {
  const who = await account()
  await credit(who)
  const host = await machine(t, who, { price: 350_000 })
  for (let j = 0; j < jobs; j++) {
    // oxlint-disable-next-line no-await-in-loop -- more pages at once wait for the processor
    await t.test(`job ${j + 1}, seen by ${viewers}`, async (sub) => {
      const { id } = await submit(who, host, [`burst ${lines}`, 'burst 500', 'wait 100ms', 'repeat 2'])
      await until(async () => (await known(id, who)).bytes >= first, 120)
      // The networks are of the outer test: pages that are being closed may still ask.
      const pages = await Promise.all(Array.from({ length: viewers }, async (_, v) => follow(sub, await droppable(t, url), who, id, j * viewers + v)))
      await ask(url, 'POST', `/api/jobs/${id}/cancel`, who.token)
      await Promise.all(pages.map((page) => page.getByText('Complete', { exact: true }).waitFor(patience)))

      const log = await stored(id, who)
      assert.deepEqual(await known(id, who), log)
      for (const page of pages) {
        // oxlint-disable-next-line no-await-in-loop
        assert.deepEqual(await taken(page), { ...log, wrong: [] })
      }
    })
  }
})
