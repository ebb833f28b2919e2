import { createHash } from 'node:crypto'
import { expect, test } from 'vitest'
import { frame, manual, seeded, split } from './testing'

const nasty = [
  'plain line\n',
  '\u001b[1;31mred \u001b[38;2;1;2;3mtrue\u001b[0m colour\n',
  'größer \u{1f600} 漢字 \u001b]8;;https://x.example\u001b\\link\u001b]8;;\u0007\n',
  '  1%\r 50%\r\u001b[32m100%\u001b[0m\r\n',
  'bidi \u202e override\u2069, tab\there\n',
  '\u009b1mC1\u009b0m \u009d52;c;x\u009c\n',
  `${'long \u{1f680}'.repeat(3000)}\n`,
  '\n',
]

function corpus(random: () => number): Uint8Array {
  const parts: Uint8Array[] = []
  for (let i = 0; i < 30; i++) {
    parts.push(new TextEncoder().encode(nasty[Math.floor(random() * nasty.length)]))
    // Bytes that are no UTF-8, and sequences cut short.
    if (random() < 0.3) parts.push(Uint8Array.from({ length: 6 }, () => Math.floor(random() * 256)))
  }
  return Uint8Array.from(parts.flatMap((p) => [...p]))
}

const all = (store: ReturnType<typeof manual>['store']) => Array.from({ length: store.count }, (_, i) => store.at(i))

test.each(Array.from({ length: 40 }, (_, i) => i + 1))('any split into frames gives the same lines (seed %i)', (seed) => {
  const random = seeded(seed)
  const bytes = corpus(random)
  const limits = { lines: 40, characters: 200_000 }
  const whole = manual({ limits })
  whole.store.append(0, 0, bytes)
  whole.store.end()
  const parts = manual({ limits })
  let offset = 0
  for (const part of split(bytes, random, seed % 2 ? 7 : 3000)) {
    parts.store.frame(frame(offset, part))
    offset += part.length
  }
  parts.store.end()
  expect(parts.store.received).toBe(bytes.length)
  expect(parts.store.dropped).toBe(whole.store.dropped)
  expect(all(parts.store)).toEqual(all(whole.store))
})

test.each(Array.from({ length: 20 }, (_, i) => i + 1))('whatever connections repeat or lose, the bytes taken are the log (seed %i)', (seed) => {
  const random = seeded(seed)
  const bytes = corpus(random)
  const hash = createHash('sha256')
  let taken = 0
  const tap = {
    bytes: (_attempt: number, offset: number, data: Uint8Array) => {
      expect(offset).toBe(taken)
      taken += data.length
      hash.update(data)
    },
  }
  const { store } = manual({ tap })
  while (store.received < bytes.length) {
    const start = Math.max(0, store.received + Math.floor((random() - 0.5) * 400))
    const end = Math.min(bytes.length, start + Math.floor(random() * 500))
    const before = store.received
    const got = store.frame(frame(start, bytes.subarray(start, end)))
    expect(got === 'gap').toBe(start > before)
    expect(store.received).toBe(got === 'taken' ? end : before)
  }
  expect(hash.digest('hex')).toBe(createHash('sha256').update(bytes).digest('hex'))
})

test('what was there already is known', () => {
  const { store, texts } = manual()
  expect(store.frame(frame(0, 'one\ntwo\n'))).toBe('taken')
  expect(store.frame(frame(0, 'one\n'))).toBe('known')
  expect(store.frame(frame(4, 'two\nthree\n'))).toBe('taken')
  expect(store.frame(frame(100, 'lost\n'))).toBe('gap')
  expect(texts()).toEqual(['one', 'two', 'three'])
  expect(store.received).toBe(14)
})

test('a line has the time of the batch in which it began', () => {
  const { store } = manual()
  store.frame(frame(0, 'a\nb', 1_000_000))
  store.frame(frame(3, 'b\nc\n', 2_500_000))
  expect([0, 1, 2].map((i) => store.at(i)?.at)).toEqual([1000, 1000, 2500])
})

test('a line whose time is not known has none', () => {
  const { store } = manual()
  store.frame(frame(0, 'old\n', 0))
  store.frame(frame(4, 'new\n', 2_000_000))
  expect([store.at(0)?.at, store.at(1)?.at, store.began]).toEqual([0, 2000, 2000])
})

test('another attempt starts anew', () => {
  const { store, write, texts } = manual()
  write('old \u001b[31mcut off in 中'.slice(0, -1))
  store.reset(2)
  expect([store.attempt, store.received, store.count]).toEqual([2, 0, 0])
  write('new\n')
  expect(texts()).toEqual(['new'])
  expect(store.at(0)).toMatchObject({ n: 1, spans: undefined })
})

test('beyond the limit the oldest tenth goes, and numbers stay', () => {
  const { store, write } = manual({ limits: { lines: 100, characters: 1e6 } })
  for (let i = 1; i <= 101; i++) write(`line ${i}\n`)
  expect([store.dropped, store.count, store.last]).toEqual([11, 90, 101])
  expect(store.line(12)).toMatchObject({ n: 12, text: 'line 12' })
  expect(store.line(11)).toBeUndefined()
})

test('long lines count for more', () => {
  const { store, write } = manual({ limits: { lines: 100, characters: 1000 } })
  for (let i = 1; i <= 50; i++) write(`${'x'.repeat(99)}\n`)
  expect(store.count).toBeLessThanOrEqual(11)
  expect(store.last).toBe(50)
})

test('listeners hear once a frame', () => {
  const { store, write, frames } = manual()
  let heard = 0
  const stop = store.subscribe(() => heard++)
  for (let i = 0; i < 100; i++) write('x\n')
  expect(frames()).toBe(1)
  expect([heard, store.version()]).toEqual([1, 1])
  stop()
  write('y\n')
  frames()
  expect(heard).toBe(1)
})

test('half a character at the end of a log is shown as what it is', () => {
  const { store, texts } = manual()
  store.append(0, 0, new Uint8Array([0x61, 0xe4, 0xb8]))
  expect(texts()).toEqual(['a'])
  store.end()
  expect(texts()).toEqual(['a\ufffd'])
  expect(store.complete).toBe(true)
})

test('the marker of a log that was cut is a line like others', () => {
  const { write, texts } = manual()
  write('last words\n[truncated 3998 bytes]\n')
  expect(texts()).toEqual(['last words', '[truncated 3998 bytes]'])
})
