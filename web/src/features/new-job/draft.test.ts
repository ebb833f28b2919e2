import { expect, test } from 'vitest'
import { curl } from './curl'
import { readDraft, saveDraft, withoutPins } from './draft'
import { digits, empty } from './values'

function memory(text: string | null = null) {
  return { text, setItem(_: string, value: string) { this.text = value }, getItem() { return this.text } }
}

test('a draft comes back without what is secret', () => {
  const storage = memory()
  saveDraft({ ...digits, env: [{ name: 'A', value: '1', secret: false }, { name: 'B', value: 'hush', secret: true }] }, 'ada', storage)
  expect(storage.text).not.toContain('hush')
  expect(readDraft('ada', storage)).toEqual({ ...digits, env: [{ name: 'A', value: '1', secret: false }, { name: 'B', value: '', secret: true }] })
})

test.each([['nothing', null], ['no JSON', '{'], ['a number', '1'], ['a job that was to be repeated', '{"source":"kept"}']])('%s is no draft', (_n, text) => {
  expect(readDraft('ada', memory(text))).toBeUndefined()
})

test('fields that an older version wrote otherwise are left out', () => {
  expect(readDraft('ada', memory('{"gpus": 2, "name": "x", "env": [{"name": 1}]}'))).toEqual({ ...empty, name: 'x' })
})

test('curl quotes what a shell would read otherwise', () => {
  const text = curl({ name: `it's` }, 'json', '/api/jobs', 'http://localhost:8080')
  expect(text).toContain(`-d '{"name":"it'\\''s"}'`)
  expect(curl({}, 'bundle', '/api/jobs', 'http://x')).toContain(`-F 'bundle=@code.zip;type=application/zip'`)
})

test('the draft of one account is not that of another', () => {
  const kept = new Map<string, string>()
  const storage = { getItem: (k: string) => kept.get(k) ?? null, setItem: (k: string, v: string) => void kept.set(k, v) }
  saveDraft({ ...empty, name: 'of ada' }, 'ada', storage)
  expect(readDraft('ada', storage)?.name).toBe('of ada')
  expect(readDraft('bob', storage)).toBeUndefined()
})

test('what an offer filled in is not kept', () => {
  expect(withoutPins({ ...empty, name: 'x', host: 'hst_1', model: 'A10' }, { host: 'hst_1', model: 'L4' })).toEqual({ ...empty, name: 'x', model: 'A10' })
})

test('curl gets what its -F would end at in quotes', () => {
  const text = curl({ command: ['sh', '-c', 'echo a; echo "b"'] }, 'bundle', '/api/jobs', 'http://x', 'my; code.zip')
  expect(text).toContain(`-F 'job="{\\"command\\":[\\"sh\\",\\"-c\\",\\"echo a; echo \\\\\\"b\\\\\\"\\"]}";type=application/json'`)
  expect(text).toContain(`-F 'bundle=@"my; code.zip";type=application/zip'`)
})
