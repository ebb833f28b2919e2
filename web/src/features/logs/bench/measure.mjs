// Loads 100,000 lines, then adds 5,000 a second, and measures what the page does: what it
// shows and keeps is the same on every machine (miscounts), what it takes is for a machine
// that has time (excess; make bench).
// Times of the main thread are its own (threadTicks): they do not grow because other
// programs want the processor too. Frames a second and how long one waits do, and are
// told, not judged.
import { withBench } from './page.mjs'

/** What may be spent at most. */
export const budgets = {
  followMsPerFrame: 8,
  scrollMsPerFrame: 14,
  searchMs: 500,
  heapMiB: 150,
}

/** How many lines are added while it follows. */
const perSecond = 5000

/** How many lines may be in the document at most. */
const rowsAtMost = 60

/** Runs it all once, each part of it for some seconds. The answer has a number for each
 * name of the budgets, and more. */
export function measure(seconds = 4) {
  return withBench(async (browser, url) => {
    const page = await browser.newPage({ viewport: { width: 1280, height: 900 } })
    const errors = []
    page.on('pageerror', (e) => errors.push(e.message))
    await page.goto(url)
    const cdp = await page.context().newCDPSession(page)
    await cdp.send('Performance.enable', { timeDomain: 'threadTicks' })
    const task = async () => {
      const { metrics } = await cdp.send('Performance.getMetrics')
      return metrics.find((m) => m.name === 'TaskDuration').value * 1000
    }
    /** Work of the main thread for each frame, while something goes on. */
    const during = async (work) => {
      const before = await task()
      const frames = await page.evaluate(work, seconds)
      return { msPerFrame: ((await task()) - before) / frames, fps: frames / seconds }
    }
    const heap = async () => {
      await cdp.send('HeapProfiler.collectGarbage')
      const { usedSize, embedderHeapUsedSize = 0, backingStorageSize = 0 } = await cdp.send('Runtime.getHeapUsage')
      return (usedSize + embedderHeapUsedSize + backingStorageSize) / 2 ** 20
    }

    const taskBefore = await task()
    const loadMs = await page.evaluate(() => globalThis.logBench.load(100_000))
    const loadTaskMs = (await task()) - taskBefore

    const follow = await during(async (s) => {
      globalThis.stopStream = globalThis.logBench.stream(5000) // perSecond; the page does not know it
      let frames = 0
      const end = performance.now() + s * 1000
      while (performance.now() < end) {
        await new Promise(requestAnimationFrame)
        frames++
      }
      return frames
    })
    const rows = await page.evaluate(() => document.querySelectorAll('[role=log] [data-n]').length)
    const following = await page.evaluate(() => {
      const e = document.querySelector('[role=log]')
      return e.scrollHeight - e.scrollTop - e.clientHeight < 4
    })

    const linesPerSecond = await page.evaluate(() => globalThis.stopStream())
    const scroll = await during(async (s) => {
      const e = document.querySelector('[role=log]')
      let frames = 0
      const end = performance.now() + s * 1000
      e.scrollTop = e.scrollHeight / 2
      while (performance.now() < end) {
        await new Promise(requestAnimationFrame)
        e.scrollTop += frames % 240 < 120 ? 460 : -460
        frames++
      }
      return frames
    })

    const searchBefore = await task()
    const searchWaitMs = await page.evaluate(async () => {
      const input = document.querySelector('input[type=search]')
      const set = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set
      const began = performance.now()
      set.call(input, 'out of memory')
      input.dispatchEvent(new Event('input', { bubbles: true }))
      const output = input.parentElement.querySelector('output')
      while (!/^[\d,]+ /.test(output.textContent)) await new Promise((r) => setTimeout(r))
      return performance.now() - began
    })
    const searchMs = (await task()) - searchBefore
    const hits = await page.evaluate(() => Number.parseInt(document.querySelector('input[type=search]').parentElement.querySelector('output').textContent.replace(/,/g, '')))
    const wantHits = await page.evaluate(() => {
      const { store } = globalThis.logBench
      let sum = 0
      for (let i = 0; i < store.count; i++) if (store.at(i).text.includes('out of memory')) sum++
      return sum
    })
    await page.getByRole('button', { name: 'Show matching lines alone' }).click()
    await page.getByRole('button', { name: 'Follow' }).click()
    const filtered = await during(async (s) => {
      globalThis.stopStream = globalThis.logBench.stream(5000)
      let frames = 0
      const end = performance.now() + s * 1000
      while (performance.now() < end) {
        await new Promise(requestAnimationFrame)
        frames++
      }
      globalThis.stopStream()
      return frames
    })
    await page.getByRole('button', { name: 'Show matching lines alone' }).click()
    await page.getByRole('searchbox').fill('')

    await page.setViewportSize({ width: 640, height: 900 })
    const before = await task()
    await page.getByRole('button', { name: 'Wrap long lines' }).click()
    await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => setTimeout(done))))
    const wrapTaskMs = (await task()) - before
    await page.getByRole('button', { name: 'Follow' }).click()
    const wrapped = await during(async (s) => {
      globalThis.stopStream = globalThis.logBench.stream(5000)
      let frames = 0
      const end = performance.now() + s * 1000
      while (performance.now() < end) {
        await new Promise(requestAnimationFrame)
        frames++
      }
      globalThis.stopStream()
      return frames
    })

    const lines = await page.evaluate(() => {
      const { store, written } = globalThis.logBench
      return { written, lines: store.last, kept: store.count }
    })
    return {
      ...lines,
      loadMs,
      loadTaskMs,
      following,
      linesPerSecond,
      followMsPerFrame: follow.msPerFrame,
      followFps: follow.fps,
      scrollMsPerFrame: scroll.msPerFrame,
      scrollFps: scroll.fps,
      rows,
      searchMs,
      searchWaitMs,
      hits,
      wantHits,
      filteredMsPerFrame: filtered.msPerFrame,
      filteredFps: filtered.fps,
      wrapTaskMs,
      wrappedMsPerFrame: wrapped.msPerFrame,
      wrappedFps: wrapped.fps,
      heapMiB: await heap(),
      errors,
    }
  })
}

/** What of a result is wrong on whatever machine, as sentences. */
export function miscounts(result) {
  const wrong = []
  if (result.rows < 1 || result.rows > rowsAtMost) wrong.push(`${result.rows} lines are in the document, 1 to ${rowsAtMost} should be`)
  if (result.lines !== result.written || result.kept !== result.written) wrong.push(`of ${result.written} lines ${result.lines} came and ${result.kept} are kept`)
  if (result.linesPerSecond < 0.99 * perSecond) wrong.push(`${result.linesPerSecond} lines a second were added, and ${perSecond} should be`)
  if (!result.following) wrong.push('it does not follow the end')
  if (result.hits < 1 || result.hits !== result.wantHits) wrong.push(`the search found ${result.hits} of ${result.wantHits} lines`)
  return [...wrong, ...result.errors]
}

/** What of a result is beyond its budget, as sentences. */
export function excess(result) {
  return Object.entries(budgets).flatMap(([name, most]) => (result[name] > most ? [`${name} is ${result[name].toFixed(1)}, at most ${most} is allowed`] : []))
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
  const result = await measure()
  for (const [name, value] of Object.entries(result)) {
    const shown = typeof value === 'number' ? String(Math.round(value * 10) / 10) : JSON.stringify(value)
    process.stdout.write(`${name.padEnd(20)} ${shown.padStart(9)}${name in budgets ? `   at most ${budgets[name]}` : ''}\n`)
  }
  const wrong = [...miscounts(result), ...excess(result)]
  for (const line of wrong) process.stderr.write(`${line}\n`)
  process.exitCode = wrong.length > 0 ? 1 : 0
}
