import type { Schemas } from '@/api/client'
import { openFeed, readAttempt, type Connection } from './feed'
import { LogStore, type LogTap } from './store'

type Job = Schemas['Job']

declare global {
  /** Set by browser tests: it sees the bytes that logs took. */
  var peergpuLogTap: LogTap | undefined
}

/** What is shown of a job's log. */
export interface Log {
  store: LogStore
  connection: Connection
  /** The attempt that was chosen; 0 is the latest one. */
  attempt: number
}

/** The logs of a job: of its latest attempt, live, and of one before it, if it is chosen. */
export class LogSource {
  readonly job: string
  #latest: Log
  #past: Log | undefined
  #reading: AbortController | undefined
  #close: (() => void) | undefined
  #onJob: ((job: Job) => void) | undefined
  readonly #listeners = new Set<() => void>()

  constructor(job: Job) {
    this.job = job.id
    const store = new LogStore({ tap: globalThis.peergpuLogTap })
    store.attempt = job.attempt
    this.#latest = { store, connection: { state: 'connecting' }, attempt: 0 }
  }

  /** What is shown now; another object whenever it changed. */
  shown = (): Log => this.#past ?? this.#latest

  subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  /** Says who hears about the job. */
  listen(onJob: ((job: Job) => void) | undefined): void {
    this.#onJob = onJob
  }

  /** Connects, until the answer is called. It goes on where it was. */
  start = (): (() => void) => {
    this.#close = openFeed({
      job: this.job,
      store: this.#latest.store,
      onConnection: (connection) => {
        this.#latest = { ...this.#latest, connection }
        this.#tell()
      },
      onJob: (job) => this.#onJob?.(job),
    })
    return () => {
      this.#close?.()
      this.#reading?.abort()
    }
  }

  /** Shows the log of another attempt; 0 is the latest. */
  choose(attempt: number): void {
    this.#reading?.abort()
    this.#past = undefined
    if (attempt > 0) {
      this.#past = { store: new LogStore({ tap: globalThis.peergpuLogTap }), connection: { state: 'connecting' }, attempt }
      this.#read(this.#past)
    }
    this.#tell()
  }

  /** Tries again what the server refused. */
  retry(): void {
    if (this.#past) {
      this.#reading?.abort()
      this.#read(this.#past)
    } else {
      this.#close?.()
      this.start()
    }
  }

  #read({ store, attempt }: Log) {
    const stop = new AbortController()
    this.#reading = stop
    const told = (connection: Connection) => {
      this.#past = { store, connection, attempt }
      this.#tell()
    }
    void readAttempt(this.job, attempt, store, told, stop.signal)
  }

  #tell() {
    for (const listener of this.#listeners) listener()
  }
}
