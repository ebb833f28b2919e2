import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { accessible, account, ask, focused, inEveryWidth, layoutShift, shot, sound, tooWide, url, visit } from './browser.mjs'
import { credit, enrol, machine, submit, until } from './machine.mjs'

const none = await account()
const owner = await account()

await credit(owner)
const host = await machine({ after }, owner, { name: 'tower', gpus: '2xNVIDIA GeForce RTX 4090', price: 350_000, region: 'eu-de', tags: 'quiet' })
const job = await submit(owner, host, ['memory 900', 'hang'])
await until(async () => (await ask(url, 'GET', `/api/jobs/${job.id}`, owner.token)).state === 'running')

inEveryWidth(
  'an account without machines is shown how to add one',
  '/host',
  async (page) => {
    await page.getByText('Waiting for your machine').waitFor()
    await shot(page, 'host-none')
    await sound(page)
  },
  { as: none },
)

inEveryWidth(
  'the machines are sound, and so are what opens',
  '/host',
  async (page) => {
    await page.getByText(/^\d+ %$/).first().waitFor()
    await shot(page, 'host')
    await sound(page)

    await page.getByRole('button', { name: 'Add a machine' }).press('Enter')
    const [commands, copy] = await Promise.all([
      page.getByLabel('Commands for the machine').evaluate((e) => {
        const text = document.createRange()
        text.selectNodeContents(e)
        return text.getBoundingClientRect().top
      }),
      page.getByRole('button', { name: 'Copy the commands' }).boundingBox(),
    ])
    assert.ok(copy.y + copy.height <= commands, 'the button to copy covers no command')
    await accessible(page)
    await shot(page, 'host-add')
    await page.keyboard.press('Escape')
    await focused(page, 'Add a machine')

    const [name, remove] = await Promise.all([page.getByRole('heading', { name: 'tower' }), page.getByRole('button', { name: 'Remove tower' })].map((e) => e.boundingBox()))
    assert.ok(remove.y < name.y + name.height && remove.x > name.x + name.width, 'the buttons of a machine stand beside its name')
    const places = () => page.getByRole('region', { name: 'tower' }).locator('li > *').evaluateAll((all) => all.map((e) => JSON.stringify(e.getBoundingClientRect())))
    const before = await places()
    await page.getByRole('button', { name: 'change the price of GPU 1 of tower' }).press('Enter')
    assert.ok(before.length >= 8, String(before))
    assert.deepEqual(await places(), before, 'what changes the price moves nothing')
    await page.getByLabel('Price of GPU 1 of tower').fill('much')
    await page.keyboard.press('Enter')
    await page.locator('[aria-invalid=true]').waitFor()
    await accessible(page)
    await shot(page, 'host-price')
    await page.keyboard.press('Escape')
    await focused(page, 'change the price of GPU 1 of tower')

    await page.getByRole('button', { name: 'Name, region and tags of tower' }).press('Enter')
    await page.getByRole('dialog', { name: 'Describe tower' }).waitFor()
    await accessible(page)
    await shot(page, 'host-describe')
    await page.keyboard.press('Escape')
    await focused(page, 'Name, region and tags of tower')

    await page.getByRole('button', { name: 'Remove tower' }).press('Enter')
    const dialog = page.getByRole('dialog', { name: 'Remove tower?' })
    await dialog.getByText('What runs on it now goes to another host').waitFor()
    assert.ok(await dialog.getByRole('button', { name: 'Remove it' }).isDisabled())
    await accessible(page)
    await shot(page, 'host-remove')
    await page.keyboard.press('Escape')
    await focused(page, 'Remove tower')

    await page.getByText('Recent jobs').click()
    await page.getByRole('region', { name: 'Recent jobs of tower' }).waitFor()
    await accessible(page)
    assert.deepEqual(await tooWide(page), [])
  },
  { as: owner },
)

test('what a page of machines hears late moves nothing', async (t) => {
  const page = await visit(t, '/robots.txt', { as: owner, width: 390 })
  const held = ['**/api/hosts/earnings?*', '**/api/ws-tickets']
  const releases = await Promise.all(
    held.map(async (path) => {
      let release
      const released = new Promise((resolve) => (release = resolve))
      await page.route(path, async (r) => {
        await released
        await r.continue()
      })
      return release
    }),
  )
  let first = true
  await page.route('**/api/hosts?*', async (r) => {
    const answer = await r.fetch()
    const list = await answer.json()
    const items = first ? list.items.map((h) => ({ ...h, online: false })) : list.items
    first = false
    await r.fulfill({ response: answer, json: { ...list, items } })
  })
  await page.goto('/host')
  await page.getByText('no load while it is offline').first().waitFor()
  await page.getByRole('contentinfo').waitFor()
  for (const release of releases) release()
  await page.getByText('less').first().waitFor()
  await page.getByText(/^\d+ %$/).first().waitFor()
  const { shift, moved } = await layoutShift(page)
  assert.ok(shift < 0.001, `layout shift ${shift} of ${moved}`)
})

test('a machine that connects with the token shown is there by itself, and is given a price', async (t) => {
  const who = await account()
  const page = await visit(t, '/host', { as: who })
  const commands = await page.getByLabel('Commands for the machine').textContent()
  const [, token] = /PEERGPU_ENROLLMENT_TOKEN=(\S+)/.exec(commands)
  assert.ok(commands.includes(`--server ${url}`), commands)
  await enrol(t, token, { name: 'newcomer' })
  await page.getByText('newcomer is connected').waitFor()
  await accessible(page)
  await page.getByRole('button', { name: 'change the price of newcomer' }).click()
  await page.getByLabel('Price of newcomer').fill('0.42')
  await page.keyboard.press('Enter')
  await page.getByText('newcomer is on the market.').waitFor()
  await page.goto('/gpus?q=newcomer')
  await page.getByRole('region', { name: 'Offers' }).getByText('$0.42').waitFor()
})

test('a price is shown at once, is in the market, and survives a reload', async (t) => {
  const who = await account()
  await machine(t, who, { name: 'priced', price: 350_000 })
  const page = await visit(t, '/host', { as: who })
  let release
  const held = new Promise((resolve) => (release = resolve))
  await page.route('**/api/hosts/*/devices/*', async (r) => {
    await held
    await r.continue()
  })
  const price = page.getByRole('button', { name: 'change the price of GPU 1 of priced' })
  await price.click()
  await page.getByLabel('Price of GPU 1 of priced').fill('0.5')
  await page.getByText('You get $0.45 an hour.').waitFor()
  await page.keyboard.press('Enter')
  await price.filter({ hasText: '$0.50' }).waitFor()
  release()
  await page.getByText('The price of GPU 1 of priced is changed').waitFor()
  await page.reload()
  await price.filter({ hasText: '$0.50' }).waitFor()
  await page.goto('/gpus?q=priced')
  await page.getByRole('region', { name: 'Offers' }).getByText('$0.50').waitFor()
})

test('a price that the server refuses is taken back', async (t) => {
  const who = await account()
  await machine(t, who, { name: 'refused', price: 350_000 })
  const page = await visit(t, '/host', { as: who, refusals: [409] })
  await page.route('**/api/hosts/*/devices/*', (r) =>
    r.fulfill({ status: 409, contentType: 'application/problem+json', body: '{"code":"conflict","detail":"the host was changed meanwhile","status":409}' }),
  )
  const price = page.getByRole('button', { name: 'change the price of GPU 1 of refused' })
  await price.click()
  await page.getByLabel('Price of GPU 1 of refused').fill('9')
  await page.keyboard.press('Enter')
  await page.getByText('The host was changed meanwhile').waitFor()
  await price.filter({ hasText: '$0.35' }).waitFor()
})

test('a GPU that is taken off the market is not in it', async (t) => {
  const who = await account()
  await machine(t, who, { name: 'hidden', price: 350_000 })
  const page = await visit(t, '/host', { as: who })
  await page.getByLabel('Listed').click()
  await page.locator('input[id^=listed-]:not(:checked)').waitFor()
  await page.getByText('GPU 1 of hidden is off the market').waitFor()
  await page.goto('/gpus?q=hidden')
  await page.getByText('No offer fits all of that').waitFor()
})

test('who is no host is told so', async (t) => {
  const page = await visit(t, '/robots.txt', { as: none })
  await page.route('**/api/auth/refresh', async (r) => {
    const answer = await r.fetch()
    const session = await answer.json()
    await r.fulfill({ response: answer, json: { ...session, user: { ...session.user, roles: ['renter'] } } })
  })
  await page.goto('/host')
  await page.getByRole('heading', { name: 'Not for this account' }).waitFor()
  await accessible(page)
  await shot(page, 'host-forbidden')
  assert.equal(await page.getByRole('navigation', { name: 'Main' }).getByRole('link', { name: 'Machines' }).count(), 0)
})
