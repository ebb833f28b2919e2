import assert from 'node:assert/strict'
import { test } from 'node:test'
import { accessible, account, inEveryWidth, shot, sound, visit } from './browser.mjs'

const submit = (page) => page.getByRole('button', { name: 'Create account' }).click()

async function fill(page, { name = 'Ada', email, password = 'correct horse battery', terms = true }) {
  await page.getByLabel('Name', { exact: true }).fill(name)
  await page.getByLabel('E-mail').fill(email)
  await page.getByLabel('Password', { exact: true }).fill(password)
  await page.getByRole('checkbox').setChecked(terms)
}

inEveryWidth('the sign-up page is sound, at rest and with errors', '/signup', async (page) => {
  await shot(page, 'signup')
  await sound(page)
  await submit(page)
  for (const text of [
    'Enter the name that others should see.',
    'Enter an e-mail address, such as ada@example.org.',
    'A password has at least 8 characters.',
    'The terms have to be accepted.',
  ]) {
    await page.getByText(text).waitFor()
  }
  assert.ok(await page.getByLabel('Name', { exact: true }).evaluate((e) => e === document.activeElement))
  await accessible(page)
  await shot(page, 'signup-errors')
})

test('a new account is signed in and goes to where it was on the way to', async (t) => {
  const page = await visit(t, '/signup?next=/no/such')
  await fill(page, { email: `new-${process.pid}-${Date.now()}@example.org` })
  await submit(page)
  await page.waitForURL('/no/such')
  await page.getByRole('button', { name: 'Account of Ada' }).waitFor()
})

test('what the server refuses stands beside its field, and nothing typed is lost', async (t) => {
  const taken = await account()
  const page = await visit(t, '/signup', { refusals: [409, 422] })
  await fill(page, { email: taken.email })
  await submit(page)
  await page.getByText(/already|taken/i).waitFor()
  await fill(page, { email: `weak-${Date.now()}@example.org`, password: 'password123' })
  await submit(page)
  const password = page.getByLabel('Password', { exact: true })
  await password.and(page.locator('[aria-invalid=true]')).waitFor()
  assert.ok(await password.evaluate((e) => e === document.activeElement))
  assert.equal(await password.inputValue(), 'password123')
  assert.equal(await page.getByLabel('Name', { exact: true }).inputValue(), 'Ada')
})
