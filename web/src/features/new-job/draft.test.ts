import { expect, test } from 'vitest'
import { curl } from './curl'
import { readDraft, saveDraft } from './draft'
import { digits, empty } from './values'

function memory(text: string | null = null) {
  return { text, setItem(_: string, value: string) { this.text = value }, getItem() { return this.text } }
}

test('a draft comes back without what is secret', () => {
  const storage = memory()
  saveDraft({ ...digits, env: [{ name: 'A', value: '1', secret: false }, { name: 'B', value: 'hush', secret: true }] }, storage)
  expect(storage.text).not.toContain('hush')
  expect(readDraft(storage)).toEqual({ ...digits, env: [{ name: 'A', value: '1', secret: false }, { name: 'B', value: '', secret: true }] })
})

test.each([['nothing', null], ['no JSON', '{'], ['a number', '1'], ['a job that was to be repeated', '{"source":"kept"}']])('%s is no draft', (_n, text) => {
  expect(readDraft(memory(text))).toBeUndefined()
})

test('fields that an older version wrote otherwise are left out', () => {
  expect(readDraft(memory('{"gpus": 2, "name": "x", "env": [{"name": 1}]}'))).toEqual({ ...empty, name: 'x' })
})

test('curl quotes what a shell would read otherwise', () => {
  const text = curl({ name: `it's` }, 'json', '/api/jobs', 'http://localhost:8080')
  expect(text).toContain(`-d '{"name":"it'\\''s"}'`)
  expect(curl({}, 'bundle', '/api/jobs', 'http://x')).toContain(`-F 'bundle=@code.zip;type=application/zip'`)
})
