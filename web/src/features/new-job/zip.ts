/** An entry of a ZIP's directory. */
export interface Entry {
  name: string
  size: number
  folder: boolean
}

/** What can be told of a ZIP before it is uploaded. */
export interface Archive {
  entries: Entry[]
  /** Bytes when unpacked. */
  total: number
}

/** A file that is no ZIP which the server would take, and which rule it breaks. */
export class ZipError extends Error {}

const endSize = 22
const longestComment = 65_535
const headSize = 46
/** The rules of openapi/bundle that show in the directory; the server checks all. */
const mostEntries = 10_000
const longestPath = 1024
const deepest = 32

/** Reads the directory of a ZIP (APPNOTE.TXT 4.3.12, 4.3.16) and holds it against the
 * rules. It reads the end of the file alone, however large that is. */
export async function readZip(file: Blob): Promise<Archive> {
  const first = new Uint8Array(await file.slice(0, 4).arrayBuffer())
  if (first[0] !== 0x50 || first[1] !== 0x4b) throw new ZipError('This is no ZIP file. Pack your folder into one and choose that.')
  const tailAt = Math.max(0, file.size - endSize - longestComment)
  const tail = new DataView(await file.slice(tailAt).arrayBuffer())
  let end = tail.byteLength - endSize
  while (end >= 0 && tail.getUint32(end, true) !== 0x06054b50) end--
  if (end < 0) throw new ZipError('The ZIP is cut off: its directory is missing. Pack it again.')
  const count = tail.getUint16(end + 10, true)
  const size = tail.getUint32(end + 12, true)
  const offset = tail.getUint32(end + 16, true)
  if (count === 0xffff || offset === 0xffffffff) throw new ZipError('The ZIP is in the ZIP64 format, which is not taken. Pack fewer or smaller files.')
  if (count > mostEntries) throw new ZipError(`The ZIP has ${count} entries; at most ${mostEntries} are taken.`)
  if (offset + size > file.size) throw new ZipError('The directory of the ZIP lies outside of the file. Pack it again.')
  return readDirectory(new DataView(await file.slice(offset, offset + size).arrayBuffer()), count)
}

function readDirectory(view: DataView, count: number): Archive {
  const entries: Entry[] = []
  const seen = new Map<string, string>()
  let total = 0
  let at = 0
  for (let i = 0; i < count; i++) {
    if (at + headSize > view.byteLength || view.getUint32(at, true) !== 0x02014b50) throw new ZipError('The directory of the ZIP is damaged. Pack it again.')
    const nameLength = view.getUint16(at + 28, true)
    const raw = new Uint8Array(view.buffer, view.byteOffset + at + headSize, Math.min(nameLength, view.byteLength - at - headSize))
    const name = decode(raw)
    const mode = view.getUint32(at + 38, true) >>> 16
    if (view.getUint16(at + 8, true) & 1) throw new ZipError(`${name} is encrypted. Pack it without a password.`)
    if ((mode & 0o170000) === 0o120000) throw new ZipError(`${name} is a link. Pack the file itself.`)
    checkName(name)
    const path = name.replace(/\/$/, '')
    const folded = path.normalize('NFC').toLowerCase()
    const other = seen.get(folded)
    if (other !== undefined) throw new ZipError(`${other} and ${path} are the same file on some machines. Rename one.`)
    seen.set(folded, path)
    const size = view.getUint32(at + 24, true)
    total += size
    entries.push({ name: path, size, folder: name.endsWith('/') })
    at += headSize + nameLength + view.getUint16(at + 30, true) + view.getUint16(at + 32, true)
  }
  if (!entries.some((e) => !e.folder)) throw new ZipError('There is no file in the ZIP.')
  return { entries, total }
}

function decode(raw: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(raw)
  } catch {
    throw new ZipError('A name in the ZIP is not UTF-8. Rename the file, or pack with another program.')
  }
}

function checkName(name: string) {
  const parts = name.replace(/\/$/, '').split('/')
  // oxlint-disable-next-line no-control-regex
  if (/[\u0000-\u001f\u007f\\]/.test(name)) throw new ZipError(`${JSON.stringify(name)} has a character that no path may have.`)
  if (name.startsWith('/') || /^[A-Za-z]:/.test(name)) throw new ZipError(`${name} is an absolute path. Pack the folder, not the drive.`)
  if (parts.includes('..')) throw new ZipError(`${name} leads out of the folder.`)
  if (parts.includes('') || parts.includes('.')) throw new ZipError(`${name} is no plain path.`)
  if (name.length > longestPath || parts.length > deepest) throw new ZipError(`${name.slice(0, 80)}… is too long or too deep.`)
}

/** Says of a command whether the file that it names is in the archive: undefined where
 * it names none that looks like one of the archive's. */
export function commandFile(args: string[], archive: Archive): { file: string; there: boolean; elsewhere?: string } | undefined {
  const file = args.find((a, i) => (i > 0 || a.startsWith('./')) && !a.startsWith('-') && /\.(py|sh|js|mjs|jl|R|lua|pl|rb)$/.test(a))?.replace(/^\.\//, '')
  if (!file || file.startsWith('/')) return undefined
  const there = archive.entries.some((e) => e.name === file)
  const elsewhere = there ? undefined : archive.entries.find((e) => e.name.endsWith(`/${file}`))?.name
  return { file, there, ...(elsewhere ? { elsewhere } : {}) }
}
