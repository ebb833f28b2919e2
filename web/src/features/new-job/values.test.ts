import { expect, test } from 'vitest'
import type { Schemas } from '@/api/client'
import { digits, empty, fieldAt, fromJob, toRequest } from './values'

test('the example is the request of the example', () => {
  const { body, problems } = toRequest(digits)
  expect(problems).toEqual({})
  expect(body).toEqual({
    name: 'digits',
    source: { kind: 'bundle' },
    command: ['python3', 'train.py'],
    needs: { gpus: 1, memory_mb: 256, disk_mb: 64 },
    limits: { max_runtime_s: 300, max_cost_micros: 100_000, max_wait_s: 3600 },
    outputs: ['outputs/**'],
  })
})

test('what is wrong is told beside its field and left out', () => {
  const { body, problems } = toRequest({
    ...empty, command: `echo 'a`, gpus: '17', vram: 'much', maxPrice: '-1', tags: 'fast! eu', minutes: '0',
    env: [{ name: '1A', value: 'x', secret: false }, { name: '', value: '', secret: false }, { name: 'B', value: '', secret: false }, { name: 'B', value: 'y', secret: true }],
  })
  expect(Object.keys(problems).toSorted()).toEqual(['command', 'env.0', 'env.3', 'gpus', 'maxPrice', 'minutes', 'tags', 'vram'])
  expect(body.needs).toEqual({ gpus: 1 })
})

test('an empty form asks for a command, an image job for its image', () => {
  expect(toRequest(empty).problems).toEqual({ command: expect.stringContaining('python3 train.py') })
  expect(toRequest({ ...empty, source: 'image' }).problems).toEqual({ image: expect.any(String) })
})

test('a decimal comma is understood, and money is whole millionths', () => {
  expect(toRequest({ ...empty, command: 'a', maxPrice: '0,35', maxCost: '1.1' }).body).toMatchObject({
    needs: { max_price_micros: 350_000 },
    limits: { max_cost_micros: 1_100_000 },
  })
})

test('nothing of an earlier job is lost in the form', () => {
  const asked = {
    name: 'digits', command: ['python3', 'train.py'], env: [], image: 'docker.io/library/python:3.12', outputs: ['outputs/**'],
    needs: { gpus: 1, cpus: 0.5, verified: true, isolation: 'container' },
    network: { mode: 'proxy', allow: ['pypi.org', 'files.pythonhosted.org'] },
    limits: { max_runtime_s: 300, max_wait_s: 3600 },
  }
  const { body, problems } = toRequest(fromJob({ ...asked, source: { kind: 'bundle', size: 10 } } as unknown as Schemas['Job']))
  expect(problems).toEqual({})
  const { env: _, ...rest } = asked
  expect(body).toEqual(rest)
})

test('an earlier job comes back as it was asked for, without its secrets', () => {
  const asked: Schemas['JobRequest'] = toRequest({ ...digits, model: 'NVIDIA H100', region: 'eu', tags: 'fast', host: 'hst_1', maxPrice: '2.5', cpus: '4' }).body
  const job = {
    network: { mode: 'none' }, ...asked, source: { kind: 'bundle', size: 10 },
    env: [{ name: 'A', value: '1', secret: false }, { name: 'TOKEN', secret: true }],
  } as unknown as Schemas['Job']
  const again = toRequest(fromJob(job)).body
  const { source: _, ...rest } = asked
  expect(again).toEqual({ ...rest, env: [{ name: 'A', value: '1' }, { name: 'TOKEN', secret: true }] })
})

test.each([
  ['/needs/gpus', 'gpus'], ['/env/3/name', 'env.3'], ['/source/image', 'image'], ['/limits/max_cost_micros', 'maxCost'], ['/command/0', 'command'], ['/unknown', undefined],
])('%s belongs to a field', (pointer, field) => {
  expect(fieldAt(pointer)).toBe(field)
})
