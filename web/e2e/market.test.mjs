import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { account, accessible, ask, inEveryWidth, shot, sound, url, visit } from './browser.mjs'
import { credit, machine, submit } from './machine.mjs'

const owner = await account()

const [host] = await Promise.all([
  machine({ after }, owner, { name: 'rack-1', gpus: '2xNVIDIA H100 80GB HBM3@80', price: 2_100_000, region: 'eu-de', tags: 'nvlink,datacentre', runtime: 'process' }),
  machine({ after }, owner, { name: 'rack-2', gpus: '1xNVIDIA A100-SXM4-80GB@80', price: 1_290_000, region: 'us-east', runtime: 'process' }),
  machine({ after }, owner, { name: 'den', gpus: '1xNVIDIA GeForce RTX 3090', price: 220_000, region: 'eu-de', tags: 'home' }),
])

const rows = (page) => page.getByRole('region', { name: 'Offers' }).locator('tbody tr')

inEveryWidth('the market is sound, at rest, filtered and without an offer', '/gpus', async (page, width) => {
  await page.getByText('rack-1').filter({ visible: true }).first().waitFor()
  await shot(page, 'gpus')
  await sound(page)
  const filters = page.getByRole('button', { name: 'Filters' })
  if (width < 600) {
    await filters.press('Enter')
    const [button, panel] = await Promise.all([filters, page.getByRole('search', { name: 'Filters' })].map((e) => e.boundingBox()))
    assert.ok(button.y > 56 && button.y < 150, `the button is at ${button.y} px, below the header`)
    assert.ok(panel.y >= button.y + button.height && panel.y < 250, `the filters begin at ${panel.y} px, below their button`)
  }
  await page.getByLabel('Region').selectOption('eu-de')
  await page.getByRole('list', { name: 'Filters that are set' }).waitFor()
  await page.getByLabel('Highest price').fill('0.0001')
  await page.getByText('No offer fits all of that').waitFor()
  await page.getByRole('link', { name: /^Without at most .*: \d+ offers?$/ }).waitFor()
  await accessible(page)
  await shot(page, 'gpus-none')
})

test('a machine without a sandbox says that it is its owner’s alone', async (t) => {
  const page = await visit(t, '/gpus?q=den')
  const den = rows(page).filter({ hasText: 'den' })
  await den.getByText('jobs of its owner alone').waitFor()
  await den.getByText('not for rent').waitFor()
  await den.getByRole('link', { name: 'den', exact: true }).click()
  await page.getByText('none, and it takes the jobs of its owner alone').waitFor()
})

inEveryWidth('a filter as long as an address can be keeps to the page', `/gpus?region=${'r'.repeat(60)}&q=${'x'.repeat(100)}`, async (page) => {
  await page.getByText('No offer fits all of that').waitFor()
  await page.getByRole('link', { name: /x{100}.*\(remove\)/ }).waitFor()
  await sound(page)
})

inEveryWidth('the offers of before fade, and can be read, until those of the new filter are there', '/gpus', async (page) => {
  await page.getByText('rack-1').filter({ visible: true }).first().waitFor()
  let release
  const held = new Promise((resolve) => (release = resolve))
  await page.route('**/api/market/offers?*', async (r) => {
    await held
    await r.continue()
  })
  const colour = () => page.locator('main [aria-busy]').evaluate((e) => getComputedStyle(e).color)
  const before = await colour()
  await page.getByLabel('Sort by').selectOption({ index: 1 })
  await page.locator('[aria-busy=true]').waitFor()
  await accessible(page)
  assert.notEqual(await colour(), before)
  await shot(page, 'gpus-stale')
  release()
  await page.locator('[aria-busy=false]').waitFor()
  assert.equal(await colour(), before)
})

inEveryWidth('a host’s page is sound', '/robots.txt', async (page) => {
  await page.goto(`/hosts/${host.id}`)
  await page.getByRole('heading', { name: 'rack-1' }).waitFor()
  await shot(page, 'host-public')
  await sound(page)
})

test('filters are in the URL, and survive reload and the back button', async (t) => {
  const page = await visit(t, '/gpus')
  await rows(page).filter({ hasText: 'den' }).waitFor()
  await page.getByLabel('GPU memory, at least').selectOption('80')
  await page.waitForURL('/gpus?vram=80')
  await rows(page).filter({ hasText: 'den' }).waitFor({ state: 'detached' })
  await page.reload()
  await rows(page).filter({ hasText: 'rack-1' }).waitFor()
  assert.equal(await page.getByLabel('GPU memory, at least').inputValue(), '80')
  assert.equal(await rows(page).filter({ hasText: 'den' }).count(), 0)
  await page.getByRole('link', { name: '80 GiB or more' }).click()
  await page.waitForURL('/gpus')
  await rows(page).filter({ hasText: 'den' }).waitFor()
  await page.goBack()
  await page.waitForURL('/gpus?vram=80')
  await rows(page).filter({ hasText: 'den' }).waitFor({ state: 'detached' })
  await page.goto('/gpus?sort=toString&vram=much&verified=no')
  await rows(page).filter({ hasText: 'den' }).waitFor()
  assert.equal(await page.getByRole('list', { name: 'Filters that are set' }).count(), 0)
})

test('the cheapest comes first, and the number of offers is announced', async (t) => {
  const page = await visit(t, '/gpus')
  await rows(page).filter({ hasText: 'den' }).waitFor()
  await page.getByRole('status').filter({ hasText: /^\d+ offers$/ }).waitFor()
  const prices = (await rows(page).locator('td:nth-child(7)').allTextContents()).map((p) => Number(p.replace(/[^\d.]/g, '')))
  assert.ok(prices.length >= 4, String(prices))
  assert.deepEqual(prices, prices.toSorted((a, b) => a - b))
})

test('what leaves no offer can be dropped by one click', async (t) => {
  const page = await visit(t, '/gpus?region=eu-de&q=rack-1&price=0.01')
  const way = page.getByRole('link', { name: 'Without at most 0.01 an hour: 1 offer' })
  await way.click()
  await rows(page).filter({ hasText: 'rack-1' }).waitFor()
  assert.equal(new URL(page.url()).searchParams.has('price'), false)
})

test('an offer is carried into the job form', async (t) => {
  const page = await visit(t, '/gpus?q=rack-1', { as: owner })
  await page.getByRole('link', { name: /^Rent H100/ }).filter({ visible: true }).click()
  await page.waitForURL(/\/jobs\/new\?/)
  await page.getByText(/^Only on the host (rack-1|rack-2)$/).waitFor()
  assert.equal(await page.getByLabel('Model').inputValue(), 'NVIDIA H100 80GB HBM3')
})

for (const id of [`hst_${'0190a1b2c3d47e5f'.repeat(2)}`, 'hst_1', 'x']) {
  test(`a host that is not there (${id.slice(0, 6)}) is nothing here`, async (t) => {
    const page = await visit(t, `/hosts/${id}`, { refusals: [400, 404, 422] })
    await page.getByRole('heading', { name: 'There is nothing here' }).waitFor()
  })
}

test('the numbers of a host’s page are those of the API', async (t) => {
  const page = await visit(t, `/hosts/${host.id}`)
  const known = await ask(url, 'GET', `/api/market/hosts/${host.id}`)
  await page.getByRole('region', { name: 'GPUs of this host' }).locator('tbody tr').nth(known.devices.length - 1).waitFor()
  assert.equal(await page.locator('figure svg rect').count(), 90)
})

test('a GPU that is busy is not for rent, on its host’s page either', async (t) => {
  await credit(owner)
  const busy = await machine(t, owner, { name: 'taken', gpus: '1xNVIDIA L4', price: 300_000, runtime: 'process' })
  const page = await visit(t, `/hosts/${busy.id}`)
  const row = page.getByRole('region', { name: 'GPUs of this host' }).locator('tbody tr')
  await row.getByRole('link', { name: 'Rent L4' }).waitFor()
  await submit(owner, busy, [], { command: ['sleep', '600'] })
  await page.reload()
  await row.getByText('busy').filter({ visible: true }).waitFor()
  assert.equal(await row.getByRole('link').count(), 0)
  await page.goto('/gpus?q=taken')
  await rows(page).getByText('busy').waitFor()
  assert.equal(await rows(page).getByRole('link', { name: /^Rent/ }).count(), 0)
})

test('the prices that there are come with the currency of the server', async (t) => {
  const page = await visit(t, '/robots.txt')
  await page.route('**/api/market/offers?*', async (r) => {
    const response = await r.fetch()
    const json = await response.json()
    await r.fulfill({ response, json: { ...json, facets: { ...json.facets, currency: 'EUR' } } })
  })
  await page.goto('/gpus')
  await page.getByText(/^€.* to €.* an hour$/).waitFor()
})
