import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { after, test } from 'node:test'
import { accessible, account, ask, inEveryWidth, shot, sound, tooWide, url, visit } from './browser.mjs'
import { credit, machine, submit, until } from './machine.mjs'

const ada = await account()

await credit(ada)
const host = await machine({ after }, ada, { name: 'lab', gpus: '4xNVIDIA A10', price: 900_000 })
const begun = await submit(ada, host, ['burst 300', 'write outputs/model.bin 4096', 'exit 0'], { name: 'train' })
const done = await until(async () => {
  const j = await ask(url, 'GET', `/api/jobs/${begun.id}`, ada.token)
  return j.state === 'succeeded' && j
})

const state = (page) => page.getByLabel('State')

inEveryWidth(
  'a job’s page is sound in each of its parts',
  '/robots.txt',
  async (page) => {
    await page.goto(`/jobs/${done.id}`)
    await page.getByText('300 lines').first().waitFor()
    await page.getByText('Complete').waitFor()
    await shot(page, 'job')
    await sound(page)
    for (const [part, ready] of [
      ['Results', page.getByRole('button', { name: 'Download outputs/model.bin' })],
      ['Details', page.getByRole('tabpanel', { name: 'Details' })],
      ['Bill', page.getByRole('region', { name: 'Postings' })],
    ]) {
      await page.getByRole('tab', { name: part }).click()
      await ready.waitFor()
      await accessible(page)
      assert.deepEqual(await tooWide(page), [])
      await shot(page, `job-${part.toLowerCase()}`)
    }
  },
  { as: ada },
)

inEveryWidth(
  'long attempts of a machine with a long name keep to the page',
  '/robots.txt',
  async (page) => {
    const name = 'the-machine-in-the-cellar-that-hums-all-night-of-somebody-who-likes-names'
    await page.routeWebSocket('**/ws/job/**', () => {}) // which knows better
    await page.route(`**/api/jobs/${done.id}`, async (r) => {
      const response = await r.fetch()
      const job = await response.json()
      const long = { ...job.attempts[0], host: { ...job.attempts[0].host, name }, billable_ms: 4_492_000, cost_micros: 1_234_567_890, outcome: 'cancelled', reason: 'fetch_failed' }
      await r.fulfill({ response, json: { ...job, attempts: [long, { ...long, attempt: 2 }] } })
    })
    await page.goto(`/jobs/${done.id}?tab=details`)
    await page.getByRole('region', { name: 'Attempts' }).getByText('$1,234.57').filter({ visible: true }).first().waitFor()
    await accessible(page)
    assert.deepEqual(await tooWide(page), [])
    await shot(page, 'job-attempts')
  },
  { as: ada },
)

test('a running job is followed: its log grows, its cost ticks, and it is cancelled', async (t) => {
  const job = await submit(ada, host, ['log the first line', 'wait 1s', 'log the second line', 'hang'], { name: 'follow' })
  const page = await visit(t, `/jobs/${job.id}`, { as: ada })
  await page.getByText('the first line').waitFor()
  await page.getByText('the second line').waitFor()
  await state(page).getByText('running').waitFor()
  const cost = page.getByTestId('cost')
  const seen = await cost.textContent()
  await page.waitForFunction((was) => document.querySelector('[data-testid=cost]').textContent !== was, seen)
  await accessible(page)

  await page.getByRole('button', { name: 'Cancel', exact: true }).click()
  const dialog = page.getByRole('dialog', { name: 'Cancel follow?' })
  await dialog.getByText('You pay').waitFor()
  await dialog.getByText('the rest of what is held is released').waitFor()
  await dialog.getByRole('button', { name: 'Cancel the job' }).click()
  await state(page).getByText('cancelled').waitFor()
  const billed = await until(async () => {
    const s = await ask(url, 'GET', `/api/jobs/${job.id}/statement`, ada.token)
    return s.state === 'settled' && s
  })
  await page.waitForFunction(
    (micros) => Math.round(Number(document.querySelector('[data-testid=cost]').textContent.replace('$', '')) * 1_000_000) === micros,
    billed.amount_micros,
  )
  assert.ok(billed.amount_micros > 0)
})

test('a link to lines names their attempt, and says where they are not', async (t) => {
  const page = await visit(t, `/jobs/${done.id}`, { as: ada })
  await page.getByText('Complete').waitFor()
  await page.goto(`/jobs/${done.id}#L12-L14`)
  await page.getByText('Lines 12–14').waitFor()
  await page.locator('[data-n="16"]').click()
  await page.getByText('Line 16', { exact: true }).waitFor()
  assert.equal(new URL(page.url()).hash, '#A1-L16')
  await page.reload()
  await page.getByText('Line 16', { exact: true }).waitFor()
  await page.goto(`/jobs/${done.id}#A1-L999`)
  await page.getByText('Line 999 not in this log').waitFor()
})

test('a result is downloaded as it was made', async (t) => {
  const page = await visit(t, `/jobs/${done.id}?tab=results`, { as: ada })
  const { items } = await ask(url, 'GET', `/api/jobs/${done.id}/artifacts`, ada.token)
  const button = page.getByRole('button', { name: 'Download outputs/model.bin' })
  await button.waitFor()
  const [download] = await Promise.all([page.waitForEvent('download'), button.click()])
  const bytes = await readFile(await download.path())
  assert.equal(download.suggestedFilename(), 'model.bin')
  assert.equal(createHash('sha256').update(bytes).digest('hex'), items[0].sha256)
  assert.equal(bytes.length, 4096)
})

test('results that were left out are told of', async (t) => {
  const job = await submit(ada, host, ['write outputs/good 3', 'write outputs/a\\b 3', 'exit 0'], { name: 'odd' })
  const page = await visit(t, `/jobs/${job.id}`, { as: ada })
  await state(page).getByText('succeeded').waitFor()
  await page.getByText('Left out of the outputs: 1').first().waitFor()
})

test('somebody else’s job is nothing here', async (t) => {
  const page = await visit(t, `/jobs/${done.id}`, { as: await account(), refusals: [404] })
  await page.getByRole('heading', { name: 'There is nothing here' }).waitFor()
  await accessible(page)
})

test('a job is run again, and changed first', async (t) => {
  const page = await visit(t, `/jobs/${done.id}`, { as: ada })
  await page.getByRole('link', { name: 'Edit and run again' }).click()
  await page.getByLabel('Name', { exact: true }).fill('train again')
  await page.getByRole('button', { name: 'Run again' }).click()
  await page.getByRole('heading', { name: 'train again' }).waitFor()
  await state(page).getByText('succeeded').waitFor()
})

test('a job is run again once, though the first answer was lost', async (t) => {
  const page = await visit(t, `/jobs/${done.id}`, { as: ada, refusals: ['ERR_FAILED'] })
  const keys = []
  await page.route('**/rerun', async (r) => {
    keys.push(r.request().headers()['idempotency-key'])
    const response = await r.fetch()
    if (keys.length === 1) await r.abort()
    else await r.fulfill({ response })
  })
  const again = page.getByRole('button', { name: 'Run again', exact: true })
  await again.click()
  await page.getByText('It could not be run again').waitFor()
  await again.click()
  await page.waitForURL((u) => !u.pathname.endsWith(done.id))
  assert.equal(keys[0], keys[1])
})

test('a job that waits says why, and until when', async (t) => {
  const job = await submit(ada, host, ['exit 0'], { needs: { gpus: 1, min_vram_mb: 900_000 } })
  const page = await visit(t, `/jobs/${job.id}`, { as: ada })
  await page.getByText(/^1 of \d+ hosts? has too little GPU memory$/).waitFor()
  await page.getByText(/It expires in \d+/).waitFor()
})

test('one line is no lines', async (t) => {
  const job = await submit(ada, host, ['log one', 'exit 0'])
  const page = await visit(t, `/jobs/${job.id}`, { as: ada })
  await page.getByText('End of the log · 1 line, 4 B').waitFor()
})
