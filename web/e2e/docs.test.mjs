// The pages of the API, which are Swagger UI's with our colours.
import assert from 'node:assert/strict'
import { accessible, inEveryWidth } from './browser.mjs'

const wider = (page) => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)

inEveryWidth('the pages of the API are sound, with an operation closed and open', '/docs', async (page) => {
  const operation = page.locator('#operations-jobs-createJob')
  await operation.waitFor()
  await accessible(page)
  await operation.locator('.opblock-summary-control').click()
  await operation.getByText('Responses', { exact: true }).first().waitFor()
  await accessible(page)
  assert.ok((await wider(page)) <= 0, 'nothing is wider than the window')
})
