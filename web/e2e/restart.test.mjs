// The server is killed, and started again, while a job is watched.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'

const program = process.env.PEERGPU_SERVER ?? new URL('../../bin/peergpu', import.meta.url).pathname
const patience = { timeout: 120_000 }

const data = await mkdtemp(join(tmpdir(), 'peergpu-e2e-'))
const listen = `127.0.0.1:${await freePort()}`
process.env.PEERGPU_URL = `http://${listen}` // before what reads it is loaded
const { account, ask, url, visit } = await import('./browser.mjs')
const { credit, machine, submit, until } = await import('./machine.mjs')
const { known, size, stored, taken, takes, tap } = await import('./tap.mjs')

async function freePort() {
  const listener = createServer().listen(0, '127.0.0.1')
  await once(listener, 'listening')
  const { port } = listener.address()
  listener.close()
  await once(listener, 'close')
  return port
}

let server

async function start() {
  server = spawn(program, ['demo', '--example', data], {
    // However slow the machine, no lease is lost.
    env: { ...process.env, PEERGPU_LISTEN: listen, PEERGPU_DATA: join(data, 'data'), PEERGPU_LEASE_TTL: '60s' },
    stdio: 'ignore',
  })
  await until(() => fetch(`${url}/readyz`).then((r) => r.ok, () => false), 60)
}

async function stop(signal = 'SIGTERM') {
  const gone = once(server, 'exit')
  server.kill(signal)
  await gone
}

await start()
after(async () => {
  await stop()
  await rm(data, { recursive: true })
})

/** Waits until the cost that is shown is another one. */
async function ticks(page) {
  const cost = page.getByTestId('cost')
  const seen = await cost.textContent()
  await page.waitForFunction((was) => document.querySelector('[data-testid=cost]').textContent !== was, seen, patience)
}

test('a job’s page goes on without a reload when its server was killed and started again', async (t) => {
  const who = await account()
  await credit(who)
  const host = await machine(t, who, { price: 3_000_000 })
  const { id } = await submit(who, host, ['burst 100', 'wait 100ms', 'repeat 2'], { name: 'long', limits: { max_runtime_s: 86_400, max_cost_micros: 20_000_000 } })

  const page = await visit(t, '/robots.txt', { as: who, refusals: ['ERR_CONNECTION_REFUSED', 'ERR_CONNECTION_RESET', 'ERR_EMPTY_RESPONSE', 503] })
  await page.addInitScript(tap)
  await page.goto(`/jobs/${id}`)
  await page.getByText('Live', { exact: true }).waitFor(patience)
  await takes(page, 0, 1)
  await ticks(page)
  await page.evaluate(() => (globalThis.stayed = true))

  await stop('SIGKILL')
  const banner = page.getByText('Reconnecting… everything that was missed will follow.')
  await banner.waitFor(patience)
  const had = await size(page)
  await ticks(page)

  await start()
  await banner.waitFor({ state: 'hidden', ...patience })
  await takes(page, had, 10_000)
  await ticks(page)
  assert.equal(await page.getByLabel('State').textContent(), 'running')

  await page.getByRole('button', { name: 'Cancel', exact: true }).click()
  await page.getByRole('dialog').getByRole('button', { name: 'Cancel the job' }).click()
  await page.getByLabel('State').getByText('cancelled').waitFor(patience)
  await page.getByText('Complete', { exact: true }).waitFor(patience)
  const log = await stored(id, who)
  assert.deepEqual(await known(id, who), log)
  assert.deepEqual(await taken(page), { ...log, wrong: [] })
  assert.equal((await ask(url, 'GET', `/api/jobs/${id}`, who.token)).attempt, 1, 'the host went on with it')
  assert.ok(await page.evaluate(() => globalThis.stayed), 'the page was not loaded again')
})
