// What the tests in a browser share. They run against a server that is there already:
// PEERGPU_URL is one in demo mode. `make test PKG=./tests/browser` brings everything;
// while writing a test, `make dev` or `make run` does, and then in web/
//   PEERGPU_URL=http://127.0.0.1:8080 node --test e2e/landing.test.mjs
import assert from 'node:assert/strict'
import { mkdir, readFile } from 'node:fs/promises'
import { after, test } from 'node:test'
import { chromium } from 'playwright-core'

export const url = process.env.PEERGPU_URL ?? 'http://127.0.0.1:8080'
/** A server that lets nobody try a password more than twice a minute. */
export const strictUrl = process.env.PEERGPU_STRICT_URL

const shots = new URL('shots/', import.meta.url).pathname
const axe = await readFile(new URL('../node_modules/axe-core/axe.min.js', import.meta.url), 'utf8')
const rules = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']

const browser = await chromium.launch({
  executablePath: process.env.PEERGPU_BROWSER ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--force-color-profile=srgb'],
})
after(() => browser.close())

/** The widths of window in which a page has to be sound, in CSS pixels, each with the theme
 * in which it is opened there: it is judged in both. */
const widths = { 1280: 'light', 390: 'dark' }

/**
 * Opens a page in a browser of its own. At the end of the test it fails if the page asked
 * another host than the server's, or reported a mistake; `refusals` are the statuses of
 * answers that the test provokes, or names of what the network reports.
 * @param {import('node:test').TestContext} t
 * @returns {Promise<import('playwright-core').Page>}
 */
export async function visit(t, path = '/', { theme = 'light', width = 1280, site = url, refusals = [], as } = {}) {
  const context = await browser.newContext({
    baseURL: site,
    colorScheme: theme,
    viewport: { width, height: width < 600 ? 844 : 900 },
    reducedMotion: 'reduce',
  })
  const page = await context.newPage()
  page.setDefaultTimeout(15_000)
  const wrong = []
  page.on('request', (r) => {
    const target = new URL(r.url())
    if (target.protocol.startsWith('http') && target.host !== new URL(site).host) wrong.push(`asked ${target.host}`)
  })
  page.on('pageerror', (e) => wrong.push(`threw ${e.stack}`))
  page.on('console', (m) => {
    const provoked = refusals.some((r) => m.text().includes(typeof r === 'number' ? `status of ${r}` : r))
    if (['error', 'warning'].includes(m.type()) && !provoked) wrong.push(`${m.type()}: ${m.text()} (${m.location().url})`)
  })
  t.after(async () => {
    await context.close()
    assert.deepEqual(wrong, [])
  })
  if (as) await signIn(page, as)
  await page.goto(path)
  return page
}

/** A test that runs in each width: `body(page, width)`, with the page open at the path. */
export function inEveryWidth(name, path, body, options = {}) {
  for (const [width, theme] of Object.entries(widths)) {
    test(`${name}, ${width} px`, async (t) => {
      await body(await visit(t, path, { theme, width: Number(width), ...options }), Number(width))
    })
  }
}

/** Lets `body` run in the other theme, as the system's setting turns, and then in that in
 * which the page was opened. */
async function inBothThemes(page, body) {
  const opened = await page.evaluate(() => (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light'))
  for (const theme of [opened === 'dark' ? 'light' : 'dark', opened]) {
    // oxlint-disable-next-line no-await-in-loop -- a page has one theme at a time
    await page.emulateMedia({ colorScheme: theme })
    // The pages of the API have Swagger UI's class instead.
    // oxlint-disable-next-line no-await-in-loop
    await page.waitForFunction((t) => (document.documentElement.dataset.theme ?? (document.querySelector('html.dark-mode') ? 'dark' : 'light')) === t, theme)
    // oxlint-disable-next-line no-await-in-loop
    await body(theme)
  }
}

/** Signs in as an account of the demo (renter, host, admin), or one that account() made. */
export async function signIn(page, who) {
  const credentials = typeof who === 'string' ? { email: `${who}@peergpu.test`, password: 'peergpu-demo' } : { email: who.email, password: who.password }
  // By the browser's own request, so that it keeps the cookie.
  await page.goto('/robots.txt')
  const status = await page.evaluate(async (body) => {
    const answer = await fetch('/api/auth/login', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify(body),
    })
    localStorage.setItem('peergpu.signed-in', '1')
    return answer.status
  }, credentials)
  assert.equal(status, 200)
}

let made = 0

/** Opens an account of one's own and returns what to sign in with, and its token. */
export async function account(site = url) {
  const password = 'correct horse battery'
  const email = `e2e-${process.pid}-${Date.now().toString(36)}-${made++}@example.org`
  await ask(site, 'POST', '/api/auth/register', undefined, { email, password, name: 'Ada', accepted_terms: true })
  const { access_token: token } = await ask(site, 'POST', '/api/auth/login', undefined, { email, password })
  return { email, password, token }
}

/** Asks the API, for what a test needs to be there, and returns the JSON of the answer. */
export async function ask(site, method, path, token, body, headers = {}) {
  const answer = await fetch(site + path, {
    method,
    headers: { 'Content-Type': 'application/json', ...(token && { Authorization: `Bearer ${token}` }), ...headers },
    ...(body && { body: JSON.stringify(body) }),
  })
  const text = await answer.text()
  assert.ok(answer.ok, `${method} ${path}: ${answer.status} ${text}`)
  return text ? JSON.parse(text) : undefined
}

/** Waits until nothing is loaded any more and nothing stands in for something. */
export async function settled(page) {
  await page.waitForLoadState('load')
  await page.locator('h1').first().waitFor()
  await page.waitForFunction(() => document.fonts.status === 'loaded' && !document.querySelector('main .animate-pulse'))
}

/** Holds what is shown against what every page promises: WCAG 2.2 AA as far as a program
 * can tell, a title, one h1, nothing wider than the window, nothing that jumped. */
export async function sound(page) {
  await settled(page)
  await accessible(page, async () => {
    const seen = await page.evaluate(() => ({
      title: document.title,
      headings: document.querySelectorAll('h1').length,
      wider: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    }))
    assert.match(seen.title, /PeerGPU$/)
    assert.equal(seen.headings, 1, 'one h1')
    assert.ok(seen.wider <= 0, `the page is ${seen.wider} px wider than the window`)
  })
  const { shift, moved } = await layoutShift(page)
  assert.ok(shift <= 0.02, `layout shift ${shift} of ${moved}`)
}

/** Only the part of sound() that axe checks, for open dialogs and menus, in both themes;
 * `more` is what else has to hold in both. */
export async function accessible(page, more = async () => undefined) {
  await page.evaluate(axe)
  await inBothThemes(page, async (theme) => {
    const found = (await violations(page)).map((v) => `${v.id}: ${v.nodes.map((n) => `${n.target} ${n.failureSummary}`).join(' | ')}`)
    assert.deepEqual(found, [], theme)
    await more()
  })
}

/** What axe finds wrong with the page as it is. */
async function violations(page) {
  // Colours that fade in are judged where they end.
  await page.evaluate(() => Promise.all(document.getAnimations().map((a) => a.finished.catch(() => undefined))))
  return page.evaluate(async (values) => {
    const found = await globalThis.axe.run(document, { runOnly: { type: 'tag', values }, resultTypes: ['violations'] })
    // How much of the page lies under the bar of the demo is a matter of scrolling.
    const aside = document.querySelector('aside[aria-label=Demo]')
    const bar = aside?.getBoundingClientRect()
    const covered = (n) => {
      const target = document.querySelector(n.target[0])
      if (!bar || !target || aside.contains(target)) return false
      const { left, right, top, bottom } = target.getBoundingClientRect()
      return left < bar.right && right > bar.left && top < bar.bottom && bottom > bar.top
    }
    return found.violations
      .map((v) => (v.id === 'target-size' ? { ...v, nodes: v.nodes.filter((n) => !covered(n)) } : v))
      .filter((v) => v.nodes.length > 0)
  }, rules)
}

/** What is wider than there is room for and has to be scrolled sideways: tables, by name. */
export const tooWide = (page) =>
  page.locator('main section[tabindex="0"]').evaluateAll((all) => all.filter((e) => e.scrollWidth > e.clientWidth).map((e) => e.getAttribute('aria-label')))

/** How much jumped since the page was opened (CLS without its session windows). */
export const layoutShift = (page) =>
  page.evaluate(
    () =>
      new Promise((resolve) => {
        let sum = 0
        const moved = []
        const add = (list) => {
          for (const e of list) {
            if (e.hadRecentInput) continue
            sum += e.value
            for (const s of e.sources) moved.push(`${s.node?.nodeName} ${s.node?.textContent?.slice(0, 40)} ${s.previousRect.y} → ${s.currentRect.y}`)
          }
        }
        const observer = new PerformanceObserver((l) => add(l.getEntries()))
        observer.observe({ type: 'layout-shift', buffered: true })
        requestAnimationFrame(() =>
          requestAnimationFrame(() => {
            add(observer.takeRecords())
            resolve({ shift: sum, moved: moved.join('; ') })
          }),
        )
      }),
  )

/** Waits until the button that has this text has the focus. */
export const focused = (page, text) =>
  page.waitForFunction((t) => document.activeElement?.tagName === 'BUTTON' && document.activeElement.textContent.includes(t), text)

/** Makes React draw many frames later than it is asked to, as on a machine that is busy. */
export const drawsLate = (page) =>
  page.evaluate(() => {
    const { postMessage } = MessagePort.prototype
    MessagePort.prototype.postMessage = function (...args) {
      setTimeout(() => postMessage.apply(this, args), 100)
    }
  })

/** Keeps pictures of the whole page, in each theme, in e2e/shots, to look at, if SHOTS is set. */
export async function shot(page, name) {
  if (!process.env.SHOTS) return
  await settled(page)
  await mkdir(shots, { recursive: true })
  const { width } = page.viewportSize()
  await inBothThemes(page, (theme) =>
    page.screenshot({ path: `${shots}${name}-${theme}-${width}.png`, fullPage: true, style: 'aside { position: static !important }' }),
  )
}
