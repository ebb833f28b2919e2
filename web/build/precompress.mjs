// Puts a .br and a .gz beside every file of a folder that gets smaller by it. The
// server sends what the browser takes and compresses nothing itself.
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { extname, join } from 'node:path'
import { promisify } from 'node:util'
import { brotliCompress, constants, gzip } from 'node:zlib'

const texts = new Set(['.css', '.html', '.js', '.json', '.svg', '.txt'])
const smallest = 256 // bytes; below, headers cost more than is saved

const brotli = promisify(brotliCompress)
const zip = promisify(gzip)

const folder = process.argv[2] ?? 'dist'
const entries = await readdir(folder, { recursive: true, withFileTypes: true })
const files = entries
  .filter((e) => e.isFile() && texts.has(extname(e.name)))
  .map((e) => join(e.parentPath, e.name))
  .filter((name) => !name.includes('/.'))

const sum = { raw: 0, br: 0, gz: 0 }
await Promise.all(
  files.map(async (name) => {
    const raw = await readFile(name)
    if (raw.length < smallest) return
    const [br, gz] = await Promise.all([
      brotli(raw, { params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: raw.length } }),
      zip(raw, { level: 9 }),
    ])
    sum.raw += raw.length
    sum.br += br.length
    sum.gz += gz.length
    await Promise.all([
      br.length < raw.length && writeFile(`${name}.br`, br),
      gz.length < raw.length && writeFile(`${name}.gz`, gz),
    ])
  }),
)
const kib = (n) => `${(n / 1024).toFixed(0)} KiB`
console.log(`compressed ${kib(sum.raw)}: br ${kib(sum.br)}, gz ${kib(sum.gz)}`)
