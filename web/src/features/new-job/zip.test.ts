import { expect, test } from 'vitest'
import { commandFile, readZip } from './zip'

interface Given {
  name: string
  size?: number
  mode?: number
  flags?: number
}

/** A ZIP with a directory alone, which is all that is read. */
function zip(entries: Given[], comment = ''): Blob {
  const parts: Uint8Array<ArrayBuffer>[] = []
  const head = new Uint8Array([0x50, 0x4b, 3, 4])
  let size = 0
  for (const e of entries) {
    const name = new TextEncoder().encode(e.name)
    const record = new DataView(new ArrayBuffer(46 + name.length))
    record.setUint32(0, 0x02014b50, true)
    record.setUint16(8, e.flags ?? 0, true)
    record.setUint32(24, e.size ?? 10, true)
    record.setUint16(28, name.length, true)
    record.setUint32(38, ((e.mode ?? 0o100644) << 16) >>> 0, true)
    const bytes = new Uint8Array(record.buffer)
    bytes.set(name, 46)
    parts.push(bytes)
    size += bytes.length
  }
  const tail = new DataView(new ArrayBuffer(22))
  tail.setUint32(0, 0x06054b50, true)
  tail.setUint16(10, entries.length, true)
  tail.setUint32(12, size, true)
  tail.setUint32(16, head.length, true)
  tail.setUint16(20, comment.length, true)
  return new Blob([head, ...parts, new Uint8Array(tail.buffer), comment])
}

test('the directory is read, behind a comment too', async () => {
  const got = await readZip(zip([{ name: 'src/', size: 0 }, { name: 'src/train.py', size: 100 }, { name: 'ü.txt', size: 5 }], 'hello'))
  expect(got.total).toBe(105)
  expect(got.entries).toEqual([
    { name: 'src', size: 0, folder: true },
    { name: 'src/train.py', size: 100, folder: false },
    { name: 'ü.txt', size: 5, folder: false },
  ])
})

test.each([
  ['no ZIP', new Blob(['hello world, this is text']), 'no ZIP'],
  ['a cut one', new Blob([new Uint8Array([0x50, 0x4b, 3, 4]), 'rest']), 'cut off'],
  ['an absolute path', zip([{ name: '/etc/passwd' }]), 'absolute'],
  ['a drive', zip([{ name: 'C:/x' }]), 'absolute'],
  ['a path that leaves', zip([{ name: 'a/../../x' }]), 'out of the folder'],
  ['a backslash', zip([{ name: 'a\\b' }]), 'no path may have'],
  ['a link', zip([{ name: 'a', mode: 0o120777 }]), 'is a link'],
  ['an encrypted one', zip([{ name: 'a', flags: 1 }]), 'encrypted'],
  ['names that differ by case alone', zip([{ name: 'A.py' }, { name: 'a.py' }]), 'same file'],
  ['folders alone', zip([{ name: 'a/' }]), 'no file'],
  ['nothing', zip([]), 'no file'],
])('%s is refused with the rule', async (_name, blob, words) => {
  await expect(readZip(blob)).rejects.toThrow(words)
})

test('the file that the command names is looked for', () => {
  const archive = { entries: [{ name: 'code/train.py', size: 1, folder: false }], total: 1 }
  expect(commandFile(['python3', 'train.py'], archive)).toEqual({ file: 'train.py', there: false, elsewhere: 'code/train.py' })
  expect(commandFile(['python3', '-u', './code/train.py'], archive)).toEqual({ file: 'code/train.py', there: true })
  expect(commandFile(['python3', '-m', 'train'], archive)).toBeUndefined()
})
