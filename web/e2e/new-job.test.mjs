import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { accessible, account, ask, drawsLate, inEveryWidth, shot, sound, url, visit } from './browser.mjs'
import { credit, machine, zip } from './machine.mjs'

const ada = await account()
const poor = await account()

await credit(ada)
const host = await machine({ after }, ada, { name: 'bench', gpus: '1xNVIDIA L4', price: 500_000 })

const submit = (page) => page.getByRole('button', { name: 'Submit job' })
const files = { 'train/main.py': 'print(1)', 'README.md': 'a model' }
const bundle = (buffer = zip(files), name = 'model.zip') => ({ name, mimeType: 'application/zip', buffer })
const choose = (page, file) => page.getByLabel('ZIP of your code').setInputFiles(file)
const holdsFocus = (locator) => locator.evaluate((e) => e === document.activeElement)

inEveryWidth(
  'the form of a job is sound: at rest, with a ZIP, with everything wrong',
  '/jobs/new',
  async (page) => {
    await page.getByText('Held until it ends', { exact: true }).waitFor()
    await shot(page, 'new-job')
    await sound(page)
    await submit(page).click()
    await page.getByText('Choose the ZIP of your code.').waitFor()
    await page.getByText('Enter what is to be run').waitFor()
    assert.ok(await holdsFocus(page.getByRole('button', { name: 'Drop a ZIP here' })), 'what is wrong first has the focus')
    await accessible(page)
    await choose(page, bundle())
    await page.getByText('model.zip').first().waitFor()
    await page.getByText('What is in it').click()
    await page.getByLabel('Command').fill('python3 main.py | tee log')
    await page.getByText('Use that path').waitFor()
    await page.getByRole('button', { name: 'Add a variable' }).click()
    await page.getByLabel('Name of variable 1').fill('1 KEY')
    await page.getByLabel('GPUs', { exact: true }).fill('none')
    await page.getByText('CPU, memory, disk, region, tags').click()
    await page.getByLabel('Memory', { exact: true }).fill('-1')
    await page.getByText('CPU, memory, disk, region, tags').click()
    await page.getByText('The same as curl').click()
    await submit(page).click()
    for (const label of ['Name of variable 1', 'GPUs', 'Memory']) {
      const field = page.getByLabel(label, { exact: true })
      assert.equal(await field.getAttribute('aria-invalid'), 'true', label)
      const said = (await field.getAttribute('aria-describedby')).split(' ')
      assert.match((await Promise.all(said.map((id) => page.locator(`[id="${id}"]`).textContent()))).join(), /Enter|A name has/, label)
    }
    await accessible(page)
    await shot(page, 'new-job-errors')
  },
  { as: ada },
)

inEveryWidth(
  'the example fills the form in, and missing credit is added where it is missing',
  '/jobs/new?example=digits',
  async (page) => {
    assert.equal(await page.getByLabel('Command').inputValue(), 'python3 train.py')
    await page.getByText('of credit is missing').waitFor()
    await shot(page, 'new-job-example')
    await sound(page)
    await page.getByRole('button', { name: 'Add credit' }).click()
    await page.getByRole('dialog', { name: 'Add credit' }).waitFor()
    await accessible(page)
    await shot(page, 'new-job-credit')
    await page.keyboard.press('Escape')
    assert.equal(await page.getByLabel('Command').inputValue(), 'python3 train.py')
  },
  { as: poor },
)

test('a bad ZIP is refused before anything is sent, and a good one in its place is not', async (t) => {
  const page = await visit(t, '/jobs/new', { as: ada })
  const sent = []
  page.on('request', (r) => r.method() === 'POST' && new URL(r.url()).pathname === '/api/jobs' && sent.push(r.url()))
  for (const [buffer, text] of [
    [Buffer.from('no zip at all'), 'This is no ZIP file'],
    [zip(files).subarray(0, 60), 'The ZIP is cut off'],
    [zip({ '../up': 'x' }), 'leads out of the folder'],
    [zip({ a: '1', A: '2' }), 'are the same file on some machines'],
  ]) {
    await choose(page, bundle(buffer))
    await page.getByText(text).waitFor()
    await page.getByLabel('Command').fill('python3 main.py')
    await submit(page).click()
    await page.getByText('Choose the ZIP of your code.').or(page.getByText(text)).first().waitFor()
  }
  await accessible(page)
  await choose(page, bundle())
  await page.getByText('model.zip').first().waitFor()
  assert.equal(await page.getByText('are the same file').count(), 0)
  assert.deepEqual(sent, [])
})

test('a ZIP that is dropped is taken, and what is sent is what the curl line says', async (t) => {
  const page = await visit(t, `/jobs/new?model=NVIDIA%20L4&host=${host.id}`, { as: ada })
  const data = await page.evaluateHandle((bytes) => {
    const transfer = new DataTransfer()
    transfer.items.add(new File([new Uint8Array(bytes)], 'dropped.zip', { type: 'application/zip' }))
    return transfer
  }, [...zip(files)])
  await page.getByRole('button', { name: 'Drop a ZIP here' }).dispatchEvent('drop', { dataTransfer: data })
  await page.getByText('dropped.zip').first().waitFor()
  await page.getByLabel('Command').fill("simulate 'cat README.md' 'exit 0'")
  await page.getByRole('button', { name: 'Add a variable' }).click()
  await page.getByLabel('Name of variable 1').fill('MODE')
  await page.getByLabel('Value of variable 1').fill("it's")
  await page.getByText('The same as curl').click()
  const line = await page.getByLabel('Request for a terminal').textContent()
  const [request] = await Promise.all([
    page.waitForRequest((r) => r.method() === 'POST' && new URL(r.url()).pathname === '/api/jobs'),
    submit(page).click(),
  ])
  await page.waitForURL(/\/jobs\/job_/)
  const job = await ask(url, 'GET', `/api/jobs/${new URL(page.url()).pathname.split('/').pop()}`, ada.token)
  assert.deepEqual(job.command, ['simulate', 'cat README.md', 'exit 0'])
  assert.equal(job.host_id, host.id)
  assert.ok(request.headers()['idempotency-key'])
  for (const part of ['MODE', host.id, 'cat README.md', 'dropped.zip']) assert.ok(line.includes(part), `${part} in ${line}`)
})

test('what the server refuses stands at its fields, folded ones too, and nothing is lost', async (t) => {
  const page = await visit(t, '/jobs/new', { as: ada, refusals: [422, 503] })
  let answer = {
    status: 422,
    json: { code: 'invalid', detail: 'the job is not valid', status: 422, errors: [
      { code: 'invalid', pointer: '/needs/region', detail: 'no host stands there' },
      { code: 'invalid', pointer: '/needs/gpus', detail: 'no host has as many' },
    ] },
  }
  await page.route('**/api/jobs', (r) => (r.request().method() === 'POST' ? r.fulfill({ contentType: 'application/problem+json', ...answer }) : r.continue()))
  await choose(page, bundle())
  await page.getByLabel('Command').fill('python3 train/main.py')
  await page.getByText('CPU, memory, disk, region, tags').click()
  await page.getByLabel('Region').fill('moon')
  await page.getByText('CPU, memory, disk, region, tags').click()
  await drawsLate(page)
  await submit(page).click()
  const gpus = page.getByLabel('GPUs', { exact: true })
  await page.getByText('No host has as many').waitFor()
  await page.waitForFunction(() => document.activeElement?.getAttribute('aria-invalid') === 'true')
  assert.ok(await holdsFocus(gpus))
  await page.getByText('No host stands there').waitFor()
  await accessible(page)
  answer = { status: 503, json: { code: 'unavailable', detail: 'try again in a moment', status: 503, request_id: '0190a1b2-0001' } }
  await submit(page).click()
  await page.getByText('Try again in a moment').waitFor()
  assert.equal(await page.getByLabel('Command').inputValue(), 'python3 train/main.py')
  await page.getByText('model.zip').first().waitFor()
})

test('what the real server refuses stands at its field', async (t) => {
  const page = await visit(t, '/jobs/new', { as: ada, refusals: [400, 422] })
  await page.getByLabel('A container image').check()
  await page.getByLabel('Image', { exact: true }).fill('NOT AN IMAGE')
  await submit(page).click()
  await page.locator('[aria-invalid=true]').waitFor()
  assert.equal(await page.getByLabel('Image', { exact: true }).getAttribute('aria-invalid'), 'true')
})

test('a draft survives a reload without its secret, and is gone once it was sent', async (t) => {
  const page = await visit(t, '/jobs/new', { as: ada })
  await page.getByLabel('Command').fill("simulate 'exit 0'")
  await page.getByLabel('Name', { exact: true }).fill('drafted')
  await page.getByRole('button', { name: 'Add a variable' }).click()
  await page.getByLabel('Name of variable 1').fill('TOKEN')
  await page.getByLabel('Secret').check()
  await page.getByLabel('Value of variable 1').fill('do not keep me')
  assert.equal(await page.getByLabel('Value of variable 1').getAttribute('type'), 'password')
  await page.reload()
  await page.getByText('Held until it ends', { exact: true }).waitFor()
  assert.equal(await page.getByLabel('Name', { exact: true }).inputValue(), 'drafted')
  assert.equal(await page.getByLabel('Name of variable 1').inputValue(), 'TOKEN')
  assert.equal(await page.getByLabel('Value of variable 1').inputValue(), '')
  assert.equal(await page.evaluate(() => JSON.stringify({ ...localStorage }).includes('do not keep me')), false)
  await page.getByRole('button', { name: 'Remove variable 1' }).click()
  await choose(page, bundle())
  await page.getByLabel('Most it may cost').fill('1')
  await submit(page).click()
  await page.waitForURL(/\/jobs\/job_/)
  await page.goto('/jobs/new')
  await page.getByText('Held until it ends', { exact: true }).waitFor()
  assert.equal(await page.getByLabel('Command').inputValue(), '')
})
