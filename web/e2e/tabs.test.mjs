// One browser with two tabs, and a hand that stays on the keyboard.
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { accessible, account, visit } from './browser.mjs'
import { credit, machine, submit } from './machine.mjs'

const who = await account()

await credit(who)
const host = await machine({ after }, who, { name: 'desk', gpus: '2xNVIDIA L4', price: 500_000 })

/** Opens another tab beside a page. */
async function tab(page, path) {
  const other = await page.context().newPage()
  other.setDefaultTimeout(15_000)
  await other.goto(path)
  await other.locator('h1').first().waitFor()
  return other
}

/** A row of the list of jobs, by the job's name. */
const row = (page, name) => page.getByRole('region', { name: 'Jobs' }).locator('tbody tr').filter({ hasText: name })

/** The price of the machine's first GPU. */
const price = (page) => page.getByRole('button', { name: 'change the price of GPU 1 of desk' })

/** Presses Tab until what has this name has the focus. */
async function tabTo(page, role, name) {
  const wanted = page.getByRole(role, { name, exact: true })
  for (let i = 0; i < 60; i++) {
    // oxlint-disable-next-line no-await-in-loop -- one key after the other
    await page.keyboard.press('Tab')
    // oxlint-disable-next-line no-await-in-loop
    if (await wanted.evaluateAll((all) => all.includes(document.activeElement))) return
  }
  assert.fail(`no Tab leads to the ${role} ${name}`)
}

test('what is done in one tab is seen in the other without a reload', async (t) => {
  const one = await visit(t, '/jobs', { as: who })
  const other = await tab(one, '/jobs')
  const job = await submit(who, host, ['log begun', 'hang'], { name: 'shared' })
  await row(one, 'shared').getByText('running').waitFor()
  await row(other, 'shared').getByText('running').waitFor()

  await one.goto(`/jobs/${job.id}`)
  await one.getByRole('button', { name: 'Cancel', exact: true }).click()
  await one.getByRole('dialog').getByRole('button', { name: 'Cancel the job' }).click()
  await row(other, 'shared').getByText('cancelled').waitFor()

  await one.getByRole('link', { name: 'Run again', exact: true }).or(one.getByRole('button', { name: 'Run again', exact: true })).click()
  await one.waitForURL((u) => u.pathname.startsWith('/jobs/job_') && !u.pathname.endsWith(job.id))
  await row(other, 'shared').getByText('running').waitFor()
  assert.equal(await row(other, 'shared').count(), 2)
})

test('what one account saw is not for the next, in another tab either', async (t) => {
  const one = await visit(t, '/jobs', { as: who, refusals: [401, 404] })
  await row(one, 'shared').first().waitFor()
  const other = await tab(one, '/')
  await other.getByRole('button', { name: 'Sign in as host' }).click()
  await row(one, 'shared').first().waitFor({ state: 'detached' })
  await one.getByRole('button', { name: 'Account of Demo host' }).waitFor()
})

test('a price that is changed in one tab is the price in the other', async (t) => {
  const one = await visit(t, '/host', { as: who })
  const other = await tab(one, '/host')
  await price(other).filter({ hasText: '$0.50' }).waitFor()
  await price(one).click()
  await one.getByRole('textbox', { name: 'Price' }).fill('0.75')
  await one.keyboard.press('Enter')
  await price(other).filter({ hasText: '$0.75' }).waitFor()
})

const image = `127.0.0.1:9/busybox@sha256:${'0123456789abcdef'.repeat(4)}`

test('a job is filled in, sent and watched without a mouse, and a reload loses nothing on the way', async (t) => {
  const page = await visit(t, '/jobs/new', { as: who })
  const ready = () => page.getByText('Held until it ends', { exact: true }).waitFor()
  await ready()
  await tabTo(page, 'radio', /^A ZIP/)
  await page.keyboard.press('ArrowDown')
  await tabTo(page, 'textbox', 'Image')
  await page.keyboard.type(image)
  await page.reload()
  await ready()
  assert.equal(await page.getByLabel('Image', { exact: true }).inputValue(), image)
  await tabTo(page, 'textbox', 'Command')
  await page.keyboard.type("simulate 'exit 0'")
  await page.reload()
  await ready()
  await tabTo(page, 'textbox', 'Name')
  await page.keyboard.type('by hand')
  await tabTo(page, 'textbox', 'Most it may cost')
  await page.keyboard.type('1')
  await page.reload()
  await ready()
  for (const [label, value] of [['Command', "simulate 'exit 0'"], ['Name', 'by hand'], ['Most it may cost', '1']]) {
    // oxlint-disable-next-line no-await-in-loop
    assert.equal(await page.getByLabel(label, { exact: true }).inputValue(), value)
  }
  await tabTo(page, 'button', 'Submit job')
  await page.keyboard.press('Enter')
  await page.waitForURL(/\/jobs\/job_/)
  const heading = page.getByRole('heading', { name: 'by hand', level: 1 })
  await heading.waitFor()
  await tabTo(page, 'tab', 'Log')
  await page.keyboard.press('ArrowRight')
  await page.locator('[role=tab][aria-selected=true]:focus', { hasText: 'Results' }).waitFor()
  await page.keyboard.press('ArrowRight')
  await page.waitForURL(/\?tab=details$/)
  await page.reload()
  await heading.waitFor()
  await page.getByRole('tab', { name: 'Details', selected: true }).waitFor()
})

test('a page that cannot be fetched says so, costs nobody the one before, and comes when the server is back', async (t) => {
  const page = await visit(t, '/jobs', { as: who, refusals: ['ERR_INTERNET_DISCONNECTED'] })
  const link = page.getByRole('navigation', { name: 'Main' }).getByRole('link', { name: 'GPUs' })
  await link.waitFor()
  await page.evaluate(() => (globalThis.stayed = true))
  await page.context().setOffline(true)
  const [failed] = await Promise.all([page.waitForEvent('requestfailed', (r) => r.url().includes('/assets/')), link.hover()])
  assert.match(failed.url(), /\.js$/)
  await page.getByRole('heading', { name: 'Jobs' }).waitFor()
  await link.click()
  await page.getByText('The server does not answer.').waitFor()
  await accessible(page)
  const again = page.getByRole('button', { name: 'Try again' })
  await again.click()
  await again.and(page.locator(':enabled')).waitFor()
  assert.ok(await page.evaluate(() => globalThis.stayed))
  await page.context().setOffline(false)
  await again.click()
  await page.getByRole('heading', { name: 'GPUs' }).waitFor()
})
