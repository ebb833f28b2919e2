import { test } from 'node:test'
import { accessible, inEveryWidth, shot, sound, visit } from './browser.mjs'

inEveryWidth('the landing page is sound', '/', async (page) => {
  await page.getByRole('table').waitFor()
  await shot(page, 'landing')
  await sound(page)
})

test('the landing page is whole when the API does not answer', async (t) => {
  const page = await visit(t, '/robots.txt', { refusals: [503] })
  await page.route('**/api/**', (r) =>
    r.fulfill({
      status: 503,
      contentType: 'application/problem+json',
      body: '{"code":"unavailable","detail":"try again in a moment","request_id":"0190a1b2-0000","status":503}',
    }),
  )
  await page.goto('/')
  await page.getByRole('heading', { level: 1 }).waitFor()
  // The client tries again twice before it says so.
  await page.getByText('The market could not be read').waitFor()
  await page.getByText('0190a1b2').waitFor()
  await page.getByRole('link', { name: 'Run a job' }).waitFor()
  await accessible(page)
  await page.unroute('**/api/**')
  await page.getByRole('button', { name: 'Try again' }).click()
  await page.getByRole('table').waitFor()
})

test('everything is reached by keyboard, past the header at once', async (t) => {
  const page = await visit(t)
  await page.getByRole('table').waitFor()
  await page.keyboard.press('Tab')
  await page.getByRole('link', { name: 'Skip to content' }).press('Enter')
  await page.waitForFunction(() => document.activeElement?.id === 'main')
  await page.keyboard.press('Tab')
  await page.waitForFunction(() => document.activeElement?.textContent === 'Run a job')
  await page.keyboard.press('Enter')
  await page.waitForURL('/login?next=%2Fjobs%2Fnew')
  await page.waitForFunction(() => document.activeElement?.id === 'main')
})

test('the landing page leads to the market, and a host to the machines', async (t) => {
  const page = await visit(t)
  await page.getByRole('link', { name: 'Browse GPUs' }).click()
  await page.waitForURL('/gpus')
  await page.goBack()
  await page.getByRole('link', { name: 'Add your machine' }).click()
  await page.waitForURL('/login?next=%2Fhost')
})

test('the palette opens, finds and closes by keyboard', async (t) => {
  const page = await visit(t, '/')
  await page.getByRole('link', { name: 'Run a job' }).focus()
  await page.keyboard.press('Control+k')
  const input = page.getByPlaceholder('Go to a page, or do something')
  await input.waitFor()
  await accessible(page)
  await shot(page, 'palette')
  await input.fill('zzzz')
  await page.getByText('Nothing is called that.').waitFor()
  await accessible(page)
  await page.keyboard.press('Escape')
  await input.waitFor({ state: 'detached' })
  await page.waitForFunction(() => document.activeElement?.textContent === 'Run a job')
  await page.keyboard.press('Control+k')
  await input.fill('sign in')
  await page.keyboard.press('Enter')
  await page.waitForURL('/login')
})

test('the menu of a narrow window leads everywhere', async (t) => {
  const page = await visit(t, '/', { width: 390 })
  await page.getByRole('button', { name: 'Menu' }).click()
  await page.getByRole('dialog').waitFor()
  await accessible(page)
  await shot(page, 'menu')
  await page.getByRole('dialog').getByRole('link', { name: 'Sign in' }).click()
  await page.waitForURL('/login')
  await page.getByRole('dialog').waitFor({ state: 'detached' })
})

test('a theme that was chosen is there before the page is', async (t) => {
  const page = await visit(t)
  await page.getByRole('button', { name: 'Use the dark theme' }).click()
  await page.reload({ waitUntil: 'commit' })
  await page.waitForFunction(() => document.documentElement.dataset.theme === 'dark')
  await page.getByRole('button', { name: 'Use the light theme' }).waitFor()
})

inEveryWidth(
  'what is not there is said to be so',
  '/no/such/page',
  async (page) => {
    await page.getByRole('heading', { name: 'There is nothing here' }).waitFor()
    await shot(page, 'not-found')
    await sound(page)
  },
)

test('a narrow window of 320 px cuts nothing off', async (t) => {
  const page = await visit(t, '/', { width: 320 })
  await page.getByRole('table').waitFor()
  await sound(page)
})
