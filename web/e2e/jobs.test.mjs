import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { accessible, account, ask, focused, inEveryWidth, shot, sound, url, visit } from './browser.mjs'
import { credit, machine, submit, until, zip } from './machine.mjs'

const none = await account()
const ada = await account()
const stands = (job, state) => until(async () => (await ask(url, 'GET', `/api/jobs/${job.id}`, ada.token)).state === state)

await credit(ada)
const host = await machine({ after }, ada, { name: 'box', gpus: '1xNVIDIA L40S', price: 800_000 })
const [well, badly] = [await submit(ada, host, ['log done', 'exit 0'], { name: 'fine-tune' }), await submit(ada, host, ['exit 3'], { name: 'evaluate' })]
await stands(well, 'succeeded')
await stands(badly, 'failed')
await stands(await submit(ada, host, ['log begun', 'hang'], { name: 'pretrain' }), 'running')
await submit(ada, host, ['exit 0'], { name: 'a name as long as the names of experiments become when nobody stops to think' })

inEveryWidth(
  'an account without jobs is shown a way to the first one',
  '/jobs',
  async (page) => {
    await page.getByRole('link', { name: 'Run the digits example' }).waitFor()
    await shot(page, 'jobs-none')
    await sound(page)
    await page.getByRole('button', { name: 'Add credit' }).click()
    await page.getByRole('dialog').getByLabel('Amount in USD').fill('much')
    await page.keyboard.press('Enter')
    await page.getByText('Enter an amount from $10.00 to $10,000.00.').waitFor()
    await accessible(page)
    await shot(page, 'jobs-credit')
    await page.keyboard.press('Escape')
    await page.waitForFunction(() => document.activeElement?.textContent === 'Add credit')
  },
  { as: none },
)

inEveryWidth(
  'the list of jobs is sound, and so are its menu and its dialog',
  '/jobs',
  async (page) => {
    await page.getByRole('link', { name: 'fine-tune' }).filter({ visible: true }).waitFor()
    await shot(page, 'jobs')
    await sound(page)
    await page.getByRole('button', { name: 'Actions for pretrain' }).filter({ visible: true }).press('Enter')
    const item = page.getByRole('menuitem', { name: 'Cancel' })
    await item.waitFor()
    await accessible(page)
    await item.click()
    await page.getByRole('dialog', { name: 'Cancel pretrain?' }).getByText('You pay').waitFor()
    await accessible(page)
    await shot(page, 'jobs-cancel')
    await page.keyboard.press('Escape')
    await page.getByRole('dialog').waitFor({ state: 'detached' })
    await focused(page, 'Actions for pretrain')
  },
  { as: ada },
)

test('the filters are in the URL, and survive reload and the back button', async (t) => {
  const page = await visit(t, '/jobs', { as: ada })
  await page.getByRole('link', { name: 'Failed' }).click()
  await page.waitForURL('/jobs?state=failed')
  const rows = page.getByRole('region', { name: 'Jobs' }).locator('tbody tr')
  await rows.filter({ hasText: 'fine-tune' }).waitFor({ state: 'detached' })
  await page.reload()
  await rows.filter({ hasText: 'evaluate' }).waitFor()
  assert.equal(await rows.count(), 1)
  await page.goBack()
  await rows.filter({ hasText: 'fine-tune' }).waitFor()
  await page.getByLabel('Search by name or id').fill('pretrain')
  await page.waitForURL('/jobs?q=pretrain')
  await rows.filter({ hasText: 'fine-tune' }).waitFor({ state: 'detached' })
  await page.getByLabel('Search by name or id').fill('no such job')
  await page.getByText('No job fits the filter').waitFor()
  await page.getByRole('link', { name: 'Show all' }).click()
  await rows.filter({ hasText: 'fine-tune' }).waitFor()
  await page.goto('/jobs?state=toString&q=')
  await rows.filter({ hasText: 'fine-tune' }).waitFor()
})

test('what happens between the reading of the list and its first news is in the list', async (t) => {
  const page = await visit(t, '/robots.txt', { as: ada })
  let release
  const held = new Promise((resolve) => (release = resolve))
  await page.route('**/api/ws-tickets', async (r) => {
    await held
    await r.continue()
  })
  await page.goto('/jobs')
  const rows = page.getByRole('region', { name: 'Jobs' }).locator('tbody tr')
  await rows.filter({ hasText: 'fine-tune' }).waitFor()
  const job = await submit(ada, host, ['exit 0'], { name: 'between' })
  await ask(url, 'POST', `/api/jobs/${job.id}/cancel`, ada.token)
  assert.equal(await rows.filter({ hasText: 'between' }).count(), 0)
  release()
  await rows.filter({ hasText: 'between' }).getByText('cancelled').waitFor()
})

test('from signing up to a result, without a reload', async (t) => {
  const page = await visit(t, '/signup')
  const who = { email: `first-${process.pid}-${Date.now()}@example.org`, password: 'correct horse battery' }
  await page.getByLabel('Name', { exact: true }).fill('Grace')
  await page.getByLabel('E-mail').fill(who.email)
  await page.getByLabel('Password', { exact: true }).fill(who.password)
  await page.getByRole('checkbox').check()
  await page.getByRole('button', { name: 'Create account' }).click()
  await page.waitForURL('/jobs')

  const { min_top_up_micros: least } = await ask(url, 'GET', '/api/billing/account', ada.token)
  await page.getByRole('button', { name: 'Add credit' }).click()
  const amounts = page.getByRole('dialog').getByRole('button', { name: '$' })
  assert.equal(await amounts.first().textContent(), `$${least / 1_000_000}.00`, 'the least that the server sells is offered')
  await amounts.filter({ hasText: '$25.00' }).click()
  await page.getByRole('dialog').getByRole('button', { name: 'Add credit' }).click()
  await page.getByRole('dialog').waitFor({ state: 'detached' })
  await page.getByRole('definition').filter({ hasText: '$25.00' }).waitFor()

  await page.getByRole('link', { name: 'New job' }).click()
  const [chooser] = await Promise.all([page.waitForEvent('filechooser'), page.getByRole('button', { name: 'Drop a ZIP here' }).click()])
  await chooser.setFiles({ name: 'first.zip', mimeType: 'application/zip', buffer: zip({ 'main.py': 'print(1)' }) })
  await page.getByText('first.zip', { exact: true }).waitFor()
  await page.getByLabel('Command').fill("simulate 'log hello' 'cat main.py' 'write outputs/model 9' 'exit 0'")
  await page.getByLabel('Name', { exact: true }).fill('first')
  await page.getByLabel('Model').selectOption('NVIDIA A40')
  await page.getByLabel('Most it may cost').fill('1')
  await page.getByRole('button', { name: 'Submit job' }).click()
  await page.waitForURL(/\/jobs\/job_/)
  await page.evaluate(() => (globalThis.stayed = true))

  await page.getByRole('navigation', { name: 'Main' }).getByRole('link', { name: 'Jobs' }).click()
  const row = page.getByRole('region', { name: 'Jobs' }).locator('tbody tr').filter({ hasText: 'first' })
  await row.getByText('queued').waitFor()
  const { access_token: token } = await ask(url, 'POST', '/api/auth/login', undefined, who)
  await machine(t, { token }, { gpus: '1xNVIDIA A40', price: 400_000 })
  await row.getByText('succeeded').waitFor()
  await row.getByText('box').waitFor()
  assert.ok(await page.evaluate(() => globalThis.stayed))
})
