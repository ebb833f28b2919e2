// What the viewer does in a real browser, where sizes, scrolling and selections exist.
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { withBench } from './page.mjs'

const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

const frame = (page) => page.evaluate(() => new Promise((done) => requestAnimationFrame(() => setTimeout(done))))
const write = async (page, text) => {
  await page.evaluate((t) => globalThis.logBench.write(t), text)
  await frame(page)
}
const numbered = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => `line ${from + i}\n`).join('')

/** The numbers of the lines that can be seen. */
const visible = (page) =>
  page.evaluate(() => {
    const box = document.querySelector('[role=log]').getBoundingClientRect()
    return [...document.querySelectorAll('[role=log] [data-n]')]
      .filter((e) => e.getBoundingClientRect().bottom > box.top + 1 && e.getBoundingClientRect().top < box.bottom - 1)
      .map((e) => Number(e.dataset.n))
      .toSorted((a, b) => a - b)
  })
const ragged = (n) => `${n} ${'word '.repeat(n % 60)}${n % 7 === 0 ? '漢字'.repeat(40) : ''}\n`
const first = async (page) => (await visible(page))[0]
const last = async (page) => (await visible(page)).at(-1)
const wrapping = (page) => page.getByRole('button', { name: 'Wrap long lines' }).click()

const cases = {
  async 'it follows until one scrolls up, and again from the end on'(page) {
    await write(page, numbered(1, 1000))
    assert.equal(await last(page), 1000)
    await page.getByRole('log').hover()
    await page.mouse.wheel(0, -400)
    await page.waitForFunction(() => [...document.querySelectorAll('button')].some((b) => b.textContent.includes('Jump to latest')))
    await frame(page)
    const top = await first(page)
    await write(page, numbered(1001, 1312))
    assert.equal(await first(page), top)
    await page.getByRole('button', { name: /Jump to latest · 312 new/ }).click()
    await frame(page)
    assert.equal(await last(page), 1312)
    await write(page, numbered(1313, 1400))
    assert.equal(await last(page), 1400)
  },

  async 'keys move it, and the slash goes to the search'(page) {
    await write(page, numbered(1, 1000))
    await page.getByRole('log').focus()
    await page.keyboard.press('Home')
    await frame(page)
    assert.equal(await first(page), 1)
    await page.keyboard.press('PageDown')
    await frame(page)
    const paged = await first(page)
    assert.ok(paged > 10 && paged < 40, `a page down leads to line ${paged}`)
    for (let i = 0; i < 3; i++) await page.keyboard.press('ArrowUp')
    await frame(page)
    assert.equal(await first(page), paged - 3)
    await page.keyboard.press('End')
    await write(page, numbered(1001, 1100))
    assert.equal(await last(page), 1100)
    await page.keyboard.press('/')
    await page.keyboard.type('line 50')
    await page.keyboard.press('Enter')
    await frame(page)
    assert.ok((await visible(page)).includes(50))
    await page.keyboard.press('Enter')
    await frame(page)
    assert.ok((await visible(page)).includes(500))
    await page.keyboard.press('Shift+Enter')
    await page.getByText('1 of 11').waitFor()
    await page.getByRole('log').focus()
    await page.keyboard.press('n')
    await page.keyboard.press('n')
    await page.getByText('3 of 11').waitFor()
    await page.keyboard.press('N')
    await page.getByText('2 of 11').waitFor()
  },

  async 'a link leads to its lines, also to those that come later'(page, url) {
    await page.goto(`${url}#L500-L502`)
    await write(page, numbered(1, 300))
    await write(page, numbered(301, 1000))
    const seen = await visible(page)
    assert.ok(seen.includes(500) && seen.includes(502), `lines ${seen[0]} to ${seen.at(-1)} are seen`)
    const middle = seen[Math.floor(seen.length / 2)]
    assert.ok(Math.abs(middle - 500) < 3, `line ${middle} is in the middle`)
    await page.getByText('Lines 500–502').waitFor()
    await page.locator('[data-n="505"]').click()
    assert.equal(new URL(page.url()).hash, '#A1-L505')
    await page.locator('[data-n="498"]').click({ modifiers: ['Shift'] })
    assert.equal(new URL(page.url()).hash, '#A1-L498-L505')
    await page.getByRole('searchbox').fill('#L20')
    await page.keyboard.press('Enter')
    await frame(page)
    assert.ok((await visible(page)).includes(20))
    assert.equal(new URL(page.url()).hash, '#A1-L20')
  },

  async 'lines that are dropped move nothing'(page) {
    await page.evaluate(() => globalThis.logBench.load(200_000))
    await page.getByRole('searchbox').fill('#L150000')
    await page.keyboard.press('Enter')
    await frame(page)
    const top = await first(page)
    await page.evaluate(() => globalThis.logBench.load(100))
    await frame(page)
    assert.equal(await page.evaluate(() => globalThis.logBench.store.dropped), 20_001)
    assert.equal(await first(page), top)
    await page.getByRole('log').focus()
    await page.keyboard.press('Home')
    await page.getByText('20,001 earlier lines dropped from view: download the full log').waitFor()
  },

  async 'wrapped, the line at the top stays, and rows are as high as their text'(page) {
    await write(page, Array.from({ length: 3000 }, (_, i) => ragged(i + 1)).join(''))
    await page.getByRole('searchbox').fill('#L1500')
    await page.keyboard.press('Enter')
    await frame(page)
    const top = await first(page)
    await wrapping(page)
    await frame(page)
    assert.equal(await first(page), top)
    await page.setViewportSize({ width: 390, height: 844 })
    await frame(page)
    await frame(page)
    const shift = Math.abs((await first(page)) - top)
    assert.ok(shift <= 1, `a resize moved the top by ${shift} lines`)
    const clipped = await page.evaluate(() =>
      [...document.querySelectorAll('[role=log] [data-n]')].filter((e) => e.parentElement.lastElementChild.scrollHeight > e.parentElement.clientHeight).map((e) => e.dataset.n),
    )
    assert.deepEqual(clipped, [])
    await page.getByRole('button', { name: 'Follow' }).click()
    await frame(page)
    assert.equal(await last(page), 3000)
    await wrapping(page)
    await frame(page)
    assert.equal(await last(page), 3000)
  },

  async 'what is higher than a browser can lay out is wrapped and scrolled all the same'(page) {
    await page.setViewportSize({ width: 390, height: 844 })
    await write(page, `${'y'.repeat(16_000)}\n`.repeat(3000))
    await write(page, numbered(3001, 3001))
    await wrapping(page)
    await frame(page)
    assert.equal(await last(page), 3001)
    await page.getByRole('searchbox').fill('#L1500')
    await page.keyboard.press('Enter')
    await frame(page)
    assert.ok((await visible(page)).includes(1500))
  },

  async 'text that is selected stays, and is copied without line numbers'(page) {
    await write(page, 'one\n\u001b[31mtwo\u001b[0m 2\nthree\n')
    const text = await page.evaluate(() => {
      const rows = [...document.querySelectorAll('[role=log] [data-n]')].map((e) => e.parentElement)
      const range = document.createRange()
      range.setStart(rows[0], 0)
      range.setEnd(rows[2], rows[2].childNodes.length)
      getSelection().removeAllRanges()
      getSelection().addRange(range)
      return getSelection().toString()
    })
    assert.equal(text.trim(), 'one\ntwo 2\nthree')
    await page.getByRole('button', { name: 'Follow', pressed: false }).waitFor()
    await write(page, numbered(4, 500))
    assert.equal(await page.evaluate(() => getSelection().toString().trim()), 'one\ntwo 2\nthree')
  },

  async 'nothing becomes HTML'(page) {
    await write(page, '<img src=x onerror="document.title=1"><b>bold</b> \u001b]8;;javascript:alert(1)\u0007link\u001b]8;;\u0007\n')
    const region = page.getByRole('log')
    assert.ok((await region.innerText()).includes('<img src=x onerror="document.title=1"><b>bold</b> link'))
    assert.equal(await region.locator('img, b, a, script').count(), 0)
  },

  async 'the end says so, and an empty log what it waits for'(page) {
    await page.getByText('The job waits for a host. Its log begins when one runs it.').waitFor()
    await write(page, 'done\n[truncated 3998 bytes]\n')
    await page.getByText('[truncated 3998 bytes]').waitFor()
    await page.evaluate(() => globalThis.logBench.end())
    await page.getByText('End of the log · 2 lines, 28 B').waitFor()
  },
}

const sizes = [
  { width: 1280, height: 900 },
  { width: 390, height: 844 },
]

async function accessible(page) {
  await page.evaluate(() => {
    const b = globalThis.logBench
    for (let i = 0; i < 256; i++) b.write(`\u001b[38;5;${i}mcolour ${i}\u001b[0m \u001b[48;5;${i}mground ${i}\u001b[0m \u001b[2;38;5;${i}mdim\u001b[0m \u001b[7;38;5;${i}minverse\u001b[0m\n`)
    b.change({ connection: { state: 'reconnecting' }, attempts: 3 })
  })
  await frame(page)
  await page.getByRole('searchbox').fill('colour')
  await page.keyboard.press('Enter')
  await page.locator('[data-n]').nth(3).click()
  await page.addScriptTag({ content: axe })
  const violations = []
  for (const open of ['', 'Times', 'Copy or download']) {
    if (open) await page.getByRole('button', { name: open, exact: true }).click()
    // Colours that fade in are judged where they end.
    await page.evaluate(() => Promise.all(document.getAnimations().map((a) => a.finished.catch(() => undefined))))
    violations.push(
      ...(await page.evaluate(async () => {
        const tags = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']
        const { violations: found } = await globalThis.axe.run(document, { runOnly: tags })
        return found.map((v) => `${v.id}: ${v.nodes.map((n) => n.html.slice(0, 160)).slice(0, 3).join(' | ')}`)
      })),
    )
    if (open) await page.keyboard.press('Escape')
  }
  assert.deepEqual(violations, [])
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth), false)
}

/** Runs every case in a page of its own. The answer is what failed, as sentences. */
export function check(report = () => {}) {
  return withBench(async (browser, url) => {
    const failed = []
    const run = async (name, viewport, work) => {
      const context = await browser.newContext({ viewport, reducedMotion: 'reduce' })
      const page = await context.newPage()
      const errors = []
      page.on('pageerror', (e) => errors.push(e.message))
      try {
        await page.goto(url)
        await work(page, url)
        assert.deepEqual(errors, [])
        report(name)
      } catch (error) {
        failed.push(`${name}: ${error.message}`)
      } finally {
        await context.close()
      }
    }
    for (const [name, work] of Object.entries(cases)) await run(name, sizes[0], work)
    for (const size of sizes) await run(`everybody can use it at ${size.width} px`, size, accessible)
    return failed
  })
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
  const failed = await check((name) => process.stdout.write(`ok    ${name}\n`))
  for (const line of failed) process.stderr.write(`FAIL  ${line}\n`)
  process.exitCode = failed.length > 0 ? 1 : 0
}
