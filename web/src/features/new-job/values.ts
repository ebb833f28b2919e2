import { decimal, noNumber } from '@/lib/decimal'
import type { Schemas } from '@/api/client'
import { joinCommand, splitCommand } from './command'

/** What stands in the form, as it was typed. */
export interface Values {
  source: 'bundle' | 'image' | 'kept'
  image: string // the job's own, or the one that a ZIP runs in
  name: string
  command: string
  env: Variable[]
  gpus: string
  model: string
  vram: string // GiB
  cpus: string
  memory: string // GiB
  disk: string // GiB
  region: string
  tags: string
  verified: boolean
  isolation: Schemas['Isolation'] | ''
  network: NonNullable<Schemas['JobNetwork']['mode']>
  allow: string // names for network proxy
  maxPrice: string // in the currency, per GPU and hour
  host: string
  minutes: string
  maxCost: string // in the currency
  waitHours: string
  outputs: string // one glob a line
}

export interface Variable {
  name: string
  value: string
  secret: boolean
  /** The value is the earlier job's and is not shown. */
  kept?: boolean
}

export const empty: Values = {
  source: 'bundle', image: '', name: '', command: '', env: [],
  gpus: '1', model: '', vram: '', cpus: '', memory: '', disk: '', region: '', tags: '', verified: false, isolation: '', network: 'none', allow: '', maxPrice: '', host: '',
  minutes: '60', maxCost: '', waitHours: '24', outputs: 'outputs/**',
}

/** The example that comes with the program. */
export const digits: Values = { ...empty, name: 'digits', command: 'python3 train.py', memory: '0.25', disk: '0.0625', minutes: '5', maxCost: '0.10', waitHours: '1' }

/** A field of the form; a variable is env.0, env.1, … */
export type Field = keyof Values | 'bundle' | `env.${number}`
export type Problems = Partial<Record<Field, string>>

type Body = Schemas['JobRequest'] & Schemas['JobRerun']

/** The body of the request that the form stands for, and what keeps it from being sent.
 * What is wrong is left out of the body. */
export function toRequest(v: Values): { body: Body; problems: Problems } {
  const problems: Problems = {}
  const body: Body = {}
  const number = (field: Field & keyof Values, scale: number, min: number, max: number, whole: boolean): number | undefined => {
    const text = decimal(v[field] as string)
    if (text === '') return undefined
    const n = Number(text)
    if (!/^\d*\.?\d+$|^\d+\.$/.test(text) || !Number.isFinite(n) || (whole && !Number.isInteger(n))) {
      problems[field] = noNumber(text, whole ? 'Enter a whole number.' : 'Enter a number.')
    } else if (n < min || n > max) {
      problems[field] = `Enter a number from ${min} to ${max}.`
    } else {
      return Math.round(n * scale)
    }
    return undefined
  }

  if (v.name.trim()) body.name = v.name.trim()
  if (v.source === 'image') {
    if (v.image.trim()) body.source = { kind: 'image', image: v.image.trim() }
    else problems.image = 'Enter an image, such as docker.io/library/python:3.12-slim.'
  } else {
    if (v.source === 'bundle') body.source = { kind: 'bundle' }
    if (v.image.trim()) body.image = v.image.trim()
  }
  const split = splitCommand(v.command)
  if (split.error) problems.command = split.error
  else if (split.args && split.args.length > 0) body.command = split.args
  else if (v.source !== 'image') problems.command = 'Enter what is to be run, such as python3 train.py.'

  const env = v.env.filter((e) => e.name.trim() || e.value)
  const names = new Set<string>()
  v.env.forEach((e, i) => {
    const name = e.name.trim()
    if (!name && !e.value) return
    if (!/^[A-Za-z_]\w{0,127}$/.test(name)) problems[`env.${i}`] = 'A name has letters, digits and underscores, and begins with no digit.'
    else if (names.has(name)) problems[`env.${i}`] = `${name} stands twice.`
    names.add(name)
  })
  if (env.length > 0) {
    body.env = env.map((e) => ({ name: e.name.trim(), ...(e.kept ? {} : { value: e.value }), ...(e.secret ? { secret: true } : {}) })) as Body['env']
  }

  const needs: Partial<Schemas['JobNeeds']> = {}
  set(needs, 'gpus', number('gpus', 1, 1, 16, true) ?? 1)
  if (v.model) needs.gpu_model = v.model
  set(needs, 'min_vram_mb', number('vram', 1024, 0, 16_384, false))
  const milli = number('cpus', 1000, 0.001, 65_536, false)
  if (milli !== undefined) needs.cpus = milli / 1000
  set(needs, 'memory_mb', number('memory', 1024, 0, 1_048_576, false))
  set(needs, 'disk_mb', number('disk', 1024, 0, 1_048_576, false))
  if (v.region.trim()) needs.region = v.region.trim()
  const tags = v.tags.toLowerCase().split(/[\s,]+/).filter(Boolean)
  if (tags.some((t) => !/^[a-z0-9][a-z0-9._-]{0,31}$/.test(t))) problems.tags = 'A tag has up to 32 lower-case letters, digits, dots, dashes and underscores.'
  else if (tags.length > 0) needs.tags = [...new Set(tags)]
  if (v.verified) needs.verified = true
  if (v.isolation) needs.isolation = v.isolation
  set(needs, 'max_price_micros', number('maxPrice', 1_000_000, 0.000001, 10_000, false))
  body.needs = needs as Schemas['JobNeeds'] // absent fields have defaults

  const limits: Partial<Schemas['JobLimits']> = {}
  set(limits, 'max_runtime_s', number('minutes', 60, 0.02, 43_200, false))
  set(limits, 'max_cost_micros', number('maxCost', 1_000_000, 0.000001, 1_000_000, false))
  set(limits, 'max_wait_s', number('waitHours', 3600, 0.001, 168, false))
  body.limits = limits as Schemas['JobLimits']
  if (v.host) body.host_id = v.host
  if (v.network !== 'none') body.network = { mode: v.network }
  const allow = v.allow.split(/[\s,]+/).filter(Boolean)
  if (v.network === 'proxy' && body.network) {
    if (allow.length > 0) body.network.allow = allow
    else problems.allow = 'Enter the names that the job may reach, such as pypi.org.'
  }
  const outputs = v.outputs.split('\n').map((o) => o.trim()).filter(Boolean)
  if (outputs.length > 0) body.outputs = outputs
  return { body, problems }
}

function set<T, K extends keyof T>(to: T, key: K, value: T[K] | undefined) {
  if (value !== undefined) to[key] = value
}

/** What the form shows to run an earlier job again with changes. Secret values stay
 * with the server. */
export function fromJob(job: Schemas['Job']): Values {
  return {
    source: job.source?.kind === 'image' ? 'image' : 'kept',
    image: job.source?.image ?? job.image ?? '', name: job.name, command: joinCommand(job.command),
    env: job.env.map((e) => ({ name: e.name, value: e.value ?? '', secret: e.secret, ...(e.value === undefined ? { kept: true } : {}) })),
    gpus: String(job.needs.gpus ?? 1), model: job.needs.gpu_model ?? '', vram: gib(job.needs.min_vram_mb),
    cpus: job.needs.cpus ? String(job.needs.cpus) : '', memory: gib(job.needs.memory_mb), disk: gib(job.needs.disk_mb),
    region: job.needs.region ?? '', tags: (job.needs.tags ?? []).join(' '),
    verified: job.needs.verified ?? false, isolation: job.needs.isolation && job.needs.isolation !== 'none' ? job.needs.isolation : '',
    network: job.network.mode ?? 'none', allow: (job.network.allow ?? []).join(' '), maxPrice: units(job.needs.max_price_micros), host: job.host_id ?? '',
    minutes: job.limits.max_runtime_s ? String(job.limits.max_runtime_s / 60) : '', maxCost: units(job.limits.max_cost_micros),
    waitHours: job.limits.max_wait_s ? String(job.limits.max_wait_s / 3600) : '', outputs: job.outputs.join('\n'),
  }
}

const gib = (mb: number | undefined) => (mb ? String(mb / 1024) : '')
const units = (micros: number | undefined) => (micros === undefined ? '' : String(micros / 1_000_000))

const fields: [RegExp, Field][] = [
  [/^\/source\/image|^\/image/, 'image'], [/^\/source/, 'bundle'], [/^\/bundle/, 'bundle'], [/^\/name/, 'name'], [/^\/command/, 'command'],
  [/^\/needs\/gpus/, 'gpus'], [/^\/needs\/gpu_model/, 'model'], [/^\/needs\/min_vram_mb/, 'vram'], [/^\/needs\/cpus/, 'cpus'],
  [/^\/needs\/memory_mb/, 'memory'], [/^\/needs\/disk_mb/, 'disk'], [/^\/needs\/region/, 'region'], [/^\/needs\/tags/, 'tags'],
  [/^\/needs\/verified/, 'verified'], [/^\/needs\/isolation/, 'isolation'], [/^\/network\/allow/, 'allow'], [/^\/network/, 'network'],
  [/^\/needs\/max_price_micros/, 'maxPrice'], [/^\/host_id/, 'host'], [/^\/limits\/max_runtime_s/, 'minutes'],
  [/^\/limits\/max_cost_micros/, 'maxCost'], [/^\/limits\/max_wait_s/, 'waitHours'], [/^\/outputs/, 'outputs'],
]

/** The field that a JSON pointer of the server's answer speaks of. */
export function fieldAt(pointer: string): Field | undefined {
  const variable = /^\/env\/(\d+)/.exec(pointer)
  if (variable) return `env.${Number(variable[1])}`
  return fields.find(([p]) => p.test(pointer))?.[1]
}
