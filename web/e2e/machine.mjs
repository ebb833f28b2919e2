// Machines with simulated GPUs, and jobs that they act out (agent/runtime/simulated.go).
import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { promisify } from 'node:util'
import { crc32 } from 'node:zlib'
import { ask, url } from './browser.mjs'

const program = process.env.PEERGPU_AGENT ?? new URL('../../bin/peergpu-agent', import.meta.url).pathname

/** Enrols a machine with a token and runs its agent until the end of the test. With the
 * runtime process it takes anybody's jobs, in a sandbox. */
export async function enrol(t, token, { name = 'box', gpus = '1xNVIDIA GeForce RTX 4090', price, region, tags, runtime = 'simulated' } = {}) {
  const home = await mkdtemp(join(tmpdir(), 'peergpu-e2e-'))
  const env = { ...process.env, PEERGPU_AGENT_HOME: home }
  const args = ['enroll', '--server', url, '--token', token, '--name', name, '--gpus', `simulated:${gpus}`]
  if (price !== undefined) args.push('--price-micros', String(price))
  if (region) args.push('--region', region)
  if (tags) args.push('--tags', tags)
  await promisify(execFile)(program, args, { env })
  const file = join(home, 'agent.yaml')
  await writeFile(file, (await readFile(file, 'utf8')).replace(/^runtime: .*$/m, `runtime: ${runtime}`))
  const agent = spawn(program, ['run'], { env, stdio: 'ignore' })
  const gone = once(agent, 'exit')
  // What comes after a hook that fails is not called; nothing may wait for the agent then.
  agent.unref()
  process.once('exit', () => agent.kill('SIGKILL'))
  t.after(async () => {
    agent.kill('SIGKILL')
    await gone
    await rm(home, { recursive: true })
  })
}

/** The same for an account, and waits until the host is online; returns it. */
export async function machine(t, who, options) {
  const { token } = await ask(url, 'POST', '/api/hosts/enrollment-tokens', who.token)
  await enrol(t, token, options)
  return until(async () => {
    const { items } = await ask(url, 'GET', '/api/hosts', who.token)
    return items.find((h) => h.name === (options?.name ?? 'box') && h.online)
  })
}

/** Asks again until there is something, for at most 20 seconds unless more are given. */
export async function until(look, seconds = 20) {
  const end = Date.now() + seconds * 1000
  while (Date.now() < end) {
    // oxlint-disable-next-line no-await-in-loop -- one look after the other
    const found = await look()
    if (found) return found
    // oxlint-disable-next-line no-await-in-loop
    await pause(50)
  }
  return assert.fail(`never came true: ${look}`)
}

const key = () => ({ 'Idempotency-Key': crypto.randomUUID() })

/** Gives an account credit, in millionths. */
export const credit = (who, micros = 25_000_000) => ask(url, 'POST', '/api/billing/top-ups', who.token, { amount_micros: micros }, key())

/** Submits a job that a host of one's own acts out, and returns it. */
export const submit = (who, host, steps, more = {}) =>
  ask(url, 'POST', '/api/jobs', who.token, {
    name: 'act', command: ['simulate', ...steps], host_id: host.id, needs: { gpus: 1 },
    limits: { max_runtime_s: 600, max_cost_micros: 1_000_000 }, ...more,
  }, key())

/** A ZIP of files, not compressed: names and their text. */
export function zip(files) {
  const parts = []
  const directory = []
  let at = 0
  for (const [name, text] of Object.entries(files)) {
    const data = Buffer.from(text)
    const path = Buffer.from(name)
    const head = Buffer.alloc(26)
    head.writeUInt16LE(20, 0)
    head.writeUInt32LE(crc32(data), 10)
    head.writeUInt32LE(data.length, 14)
    head.writeUInt32LE(data.length, 18)
    head.writeUInt16LE(path.length, 22)
    const entry = Buffer.alloc(16)
    entry.writeUInt32LE(at, 12)
    directory.push(Buffer.from('PK\x01\x02\x14\x00', 'latin1'), head.subarray(0, 24), Buffer.alloc(2), entry.subarray(2), path)
    const local = [Buffer.from('PK\x03\x04', 'latin1'), head, path, data]
    parts.push(...local)
    at += local.reduce((sum, b) => sum + b.length, 0)
  }
  const size = directory.reduce((sum, b) => sum + b.length, 0)
  const end = Buffer.alloc(22)
  end.write('PK\x05\x06', 'latin1')
  end.writeUInt16LE(Object.keys(files).length, 8)
  end.writeUInt16LE(Object.keys(files).length, 10)
  end.writeUInt32LE(size, 12)
  end.writeUInt32LE(at, 16)
  return Buffer.concat([...parts, ...directory, end])
}
