import assert from 'node:assert/strict'
import { test } from 'node:test'
import { accessible, account, inEveryWidth, shot, sound, strictUrl, url, visit } from './browser.mjs'

inEveryWidth('the sign-in page is sound, at rest and with errors', '/login', async (page) => {
  await shot(page, 'login')
  await sound(page)
  await page.getByRole('button', { name: 'Sign in', exact: true }).last().click()
  const email = page.getByLabel('E-mail')
  await page.getByText('Enter your e-mail address.').waitFor()
  assert.equal(await email.getAttribute('aria-invalid'), 'true')
  const described = await email.getAttribute('aria-describedby')
  assert.equal(await page.locator(`[id="${described}"]`).textContent(), 'Enter your e-mail address.')
  assert.ok(await email.evaluate((e) => e === document.activeElement), 'the first wrong field has the focus')
  await accessible(page)
  await shot(page, 'login-errors')
})

const enter = async (page, who) => {
  await page.getByLabel('E-mail').fill(who.email)
  await page.getByLabel('Password', { exact: true }).fill(who.password)
  await page.keyboard.press('Enter')
}

/** Tries a password that is wrong, and waits until the form has heard so. */
const fail = async (page, who) => {
  const heard = page.waitForResponse((r) => new URL(r.url()).pathname === '/api/auth/login')
  await enter(page, who)
  await heard
  await page.waitForFunction(() => document.activeElement?.getAttribute('autocomplete') === 'current-password' && document.activeElement.value === '')
  await page.locator('form button[type=submit]:not([aria-busy])').waitFor()
}

test('a wrong password is said to be wrong and tells nothing about the account', async (t) => {
  const page = await visit(t, '/login', { refusals: [401] })
  for (const email of ['renter@peergpu.test', 'nobody@peergpu.test']) {
    await fail(page, { email, password: 'not the password' })
    await page.getByText('The e-mail address or the password is wrong.').waitFor()
    assert.equal(await page.getByLabel('E-mail').inputValue(), email, 'what was typed is kept')
  }
})

test('password managers know the fields, and pasting works', async (t) => {
  const page = await visit(t, '/login')
  assert.equal(await page.getByLabel('E-mail').getAttribute('autocomplete'), 'username')
  const password = page.getByLabel('Password', { exact: true })
  assert.equal(await password.getAttribute('autocomplete'), 'current-password')
  await password.evaluate((e) => {
    const data = new DataTransfer()
    data.setData('text', 'pasted')
    if (e.dispatchEvent(new ClipboardEvent('paste', { clipboardData: data, cancelable: true, bubbles: true }))) e.value = 'pasted'
  })
  assert.equal(await password.inputValue(), 'pasted')
  await page.getByRole('button', { name: 'Show password' }).click()
  assert.equal(await password.getAttribute('type'), 'text')
})

test('signing in leads to where one was on the way to', async (t) => {
  const who = await account()
  const page = await visit(t, '/login?next=%2Fno%2Fsuch%3Fa%3D1%23b')
  await enter(page, who)
  await page.waitForURL('/no/such?a=1#b')
  await page.getByRole('button', { name: 'Account of Ada' }).waitFor()
})

for (const next of ['//evil.example/', '/\\evil.example', 'https://evil.example/', '/%09/evil.example']) {
  test(`a next of ${next} leads nowhere else`, async (t) => {
    const who = await account()
    const page = await visit(t, `/login?next=${encodeURIComponent(next)}`)
    await enter(page, who)
    await page.getByRole('button', { name: 'Account of Ada' }).waitFor()
    assert.equal(new URL(page.url()).host, new URL(url).host)
  })
}

test('a session outlives the page, is shared by tabs, and ends in all of them', async (t) => {
  const who = await account()
  const page = await visit(t, '/login')
  await enter(page, who)
  await page.getByRole('button', { name: 'Account of Ada' }).waitFor()
  assert.equal(await page.evaluate(() => JSON.stringify({ ...localStorage, ...sessionStorage }).includes('eyJ')), false, 'no token is stored')
  await page.reload()
  await page.getByRole('button', { name: 'Account of Ada' }).waitFor()
  const other = await page.context().newPage()
  await other.goto('/login')
  await other.waitForURL('/jobs')
  await other.getByRole('button', { name: 'Account of Ada' }).click()
  await accessible(other)
  await other.getByRole('menuitem', { name: 'Sign out' }).click()
  await other.getByRole('link', { name: 'Sign in' }).waitFor()
  await page.getByRole('link', { name: 'Sign in' }).waitFor()
  await page.reload()
  await page.getByRole('link', { name: 'Sign in' }).waitFor()
})

test('a token that is refused is renewed, once, and the request sent again', async (t) => {
  const who = await account()
  const page = await visit(t, '/login', { refusals: [401] })
  const renewals = []
  page.on('response', (r) => r.url().endsWith('/api/auth/refresh') && renewals.push(r.status()))
  let refused = 0
  await page.route('**/api/ws-tickets', (r) =>
    refused++ > 0
      ? r.continue()
      : r.fulfill({ status: 401, contentType: 'application/problem+json', body: '{"code":"unauthenticated","detail":"the token has expired"}' }),
  )
  const accepted = page.waitForResponse((r) => r.url().endsWith('/api/ws-tickets') && r.status() === 201)
  await enter(page, who)
  await accepted
  assert.deepEqual(renewals, [200])
  await page.getByRole('button', { name: 'Account of Ada' }).waitFor()
})

test('a limit says when it ends', { skip: !strictUrl && 'PEERGPU_STRICT_URL is not given' }, async (t) => {
  const page = await visit(t, '/login', { site: strictUrl, refusals: [401, 429] })
  for (let i = 0; i < 3; i++) {
    await fail(page, { email: 'limited@example.org', password: 'not the password' })
  }
  await page.getByText('Too many tries').waitFor()
  await page.getByText(/You can try again in 0:[0-5]\d/).waitFor()
  assert.ok(await page.locator('form button[type=submit]').isDisabled())
  await accessible(page)
  await shot(page, 'login-limited')
})

for (const width of [1280, 390]) {
  test(`the demo is entered by one click in each role, ${width} px`, async (t) => {
    const page = await visit(t, '/', { width })
    for (const role of ['renter', 'host', 'admin']) {
      const button = page.getByRole('button', { name: `Sign in as ${role}` })
      await button.click()
      await page.locator(`button[aria-pressed=true]:has-text("${role}")`).waitFor()
    }
    await accessible(page)
    await shot(page, 'demo-admin')
  })
}

test('there is no demo where there is none', { skip: !strictUrl && 'PEERGPU_STRICT_URL is not given' }, async (t) => {
  const page = await visit(t, '/login', { site: strictUrl })
  await page.waitForLoadState('networkidle')
  assert.equal(await page.getByRole('complementary', { name: 'Demo' }).count(), 0)
})
