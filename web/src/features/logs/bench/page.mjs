// Builds the page of the bench, serves it, and opens it in Chromium.
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { extname, join, normalize } from 'node:path'
import { fileURLToPath } from 'node:url'
import { chromium } from 'playwright-core'
import { build } from 'vite'

const types = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.woff2': 'font/woff2' }

/** Calls use with a browser and the page's address, and cleans up after it. */
export async function withBench(use) {
  const folder = await mkdtemp(join(tmpdir(), 'log-bench-'))
  const server = createServer(async (request, response) => {
    const path = normalize(new URL(request.url, 'http://localhost').pathname)
    try {
      const body = await readFile(join(folder, path === '/' ? 'index.html' : path))
      response.setHeader('Content-Type', types[extname(path === '/' ? 'index.html' : path)] ?? 'application/octet-stream')
      response.end(body)
    } catch {
      response.statusCode = 404
      response.end()
    }
  })
  let browser
  try {
    await build({ configFile: fileURLToPath(new URL('vite.config.ts', import.meta.url)), logLevel: 'warn', build: { outDir: folder } })
    await new Promise((listening) => server.listen(0, '127.0.0.1', listening))
    browser = await chromium.launch({
      executablePath: process.env.PEERGPU_BROWSER ?? '/usr/bin/chromium',
      args: ['--no-sandbox', '--enable-precise-memory-info'],
    })
    return await use(browser, `http://127.0.0.1:${server.address().port}/`)
  } finally {
    await browser?.close()
    server.close()
    await rm(folder, { recursive: true, force: true })
  }
}
