import { LogStore, type LogTap } from './store'

/** Numbers that look random and are the same for the same seed. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

/** A frame as the job's WebSocket sends it. */
export function frame(offset: number, data: string | Uint8Array, micros = 0): Uint8Array {
  const bytes = typeof data === 'string' ? new TextEncoder().encode(data) : data
  const made = new Uint8Array(16 + bytes.length)
  const view = new DataView(made.buffer)
  view.setBigUint64(0, BigInt(offset))
  view.setBigUint64(8, BigInt(micros))
  made.set(bytes, 16)
  return made
}

/** Bytes cut at random places, empty pieces among them. */
export function split(bytes: Uint8Array, random: () => number, longest: number): Uint8Array[] {
  const parts: Uint8Array[] = []
  for (let i = 0; i < bytes.length; ) {
    const n = Math.floor(random() * (longest + 1))
    parts.push(bytes.subarray(i, i + n))
    i += n
  }
  return parts
}

/** A store whose notifications wait until frames() is called. */
export function manual(options: { tap?: LogTap; limits?: { lines: number; characters: number } } = {}) {
  let tasks: (() => void)[] = []
  const store = new LogStore({ ...options, schedule: (task) => void tasks.push(task) })
  const frames = () => {
    const now = tasks
    tasks = []
    for (const task of now) task()
    return now.length
  }
  const write = (text: string, at = 0) => store.append(store.received, at, new TextEncoder().encode(text))
  const texts = () => Array.from({ length: store.count }, (_, i) => store.at(i)?.text ?? '')
  return { store, frames, write, texts }
}
