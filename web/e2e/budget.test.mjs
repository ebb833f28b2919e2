import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { test } from 'node:test'
import { gzipSync } from 'node:zlib'

const dist = new URL('../dist/', import.meta.url)
const manifest = JSON.parse(await readFile(new URL('.vite/manifest.json', dist), 'utf8'))
const kib = async (name) => gzipSync(await readFile(new URL(name, dist)), { level: 9 }).length / 1024

/** The chunk and what it cannot do without. */
function closure(key, into = new Set()) {
  if (into.has(key)) return into
  into.add(key)
  for (const next of manifest[key].imports ?? []) closure(next, into)
  return into
}

const sum = async (keys) => (await Promise.all([...keys].map((k) => kib(manifest[k].file)))).reduce((a, b) => a + b, 0)

test('the app starts with at most 165 KiB of JavaScript', async () => {
  const size = await sum(closure('index.html'))
  console.log(`starts with ${size.toFixed(1)} KiB`)
  assert.ok(size <= 165, `${size.toFixed(1)} KiB`)
})

test('its style sheet has at most 15 KiB', async () => {
  const sizes = await Promise.all(manifest['index.html'].css.map(kib))
  assert.ok(sizes.reduce((a, b) => a + b) <= 15, String(sizes))
})

test('no page brings more than 60 KiB of its own', async () => {
  const start = closure('index.html')
  const routes = Object.keys(manifest).filter((k) => k.includes('src/routes/'))
  assert.ok(routes.length >= 3, String(routes))
  for (const key of routes) {
    const own = await sum([...closure(key)].filter((k) => !start.has(k)))
    assert.ok(own <= 60, `${key}: ${own.toFixed(1)} KiB`)
  }
})

test('one font is loaded, ahead of the style sheet that asks for it', async () => {
  const html = await readFile(new URL('index.html', dist), 'utf8')
  const preloads = html.match(/<link rel="preload"[^>]*as="font"[^>]*>/g) ?? []
  assert.equal(preloads.length, 1)
  const [, font] = /href="(\/assets\/[^"]+\.woff2)"/.exec(preloads[0]) ?? []
  const css = await readFile(new URL(manifest['index.html'].css[0], dist), 'utf8')
  assert.deepEqual([...css.matchAll(/url\(([^)]+\.woff2)\)/g)].map((m) => m[1]), [font])
})
