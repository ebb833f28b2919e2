import { noAnswer, refusal } from '@/api/problem'
import type { components } from '@/api/schema.gen'

/** An account, as it sees itself. */
export type User = components['schemas']['User']
type Answer = components['schemas']['Session']

/** Who uses the app. It is unknown until the server was asked once. */
export type Who = { status: 'unknown' | 'out'; user?: undefined } | { status: 'in'; user: User }

type Message = { kind: 'in'; answer: Answer; expires: number } | { kind: 'out' }

/** What the session needs of the browser. */
export interface Surroundings {
  fetch(path: string, init: RequestInit): Promise<Response>
  now(): number
  /** Runs one task at a time among all tabs; waited says that another tab was before. */
  alone<T>(task: (waited: boolean) => Promise<T>): Promise<T>
  /** Lets what other tabs said arrive. */
  settle(): Promise<void>
  tell(message: Message): void
  hear(listener: (message: Message) => void): void
  /** Whether this browser was signed in when it was last here: a hint, no secret. */
  remembered(): boolean
  remember(signedIn: boolean): void
}

const early = 20_000 // ms before its end in which a token is renewed rather than used

/** The session of this browser. The access token is in memory alone; the cookie that
 * renews it is the browser's, and scripts cannot read it. */
export class SessionStore {
  #who: Who = { status: 'unknown' }
  #token: { value: string; expires: number } | undefined
  #asking: Promise<string | undefined> | undefined
  #listeners = new Set<() => void>()
  readonly #env: Surroundings

  constructor(env: Surroundings) {
    this.#env = env
    if (!env.remembered()) this.#who = { status: 'out' }
    env.hear((m) => {
      if (m.kind === 'out') this.#leave()
      else this.#enter(m.answer, m.expires)
    })
  }

  /** Who it is, for useSyncExternalStore. */
  who = (): Who => this.#who

  subscribe = (listener: () => void) => {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  /** Who it is, once that is known. It fails where the server does not answer. */
  async known(): Promise<Who> {
    if (this.#who.status === 'unknown') await this.#renew()
    return this.#who
  }

  /** An access token that is good for a while; undefined when nobody is signed in. */
  async token(): Promise<string | undefined> {
    if (this.#who.status === 'out') return undefined
    if (this.#token && this.#token.expires - this.#env.now() > early) return this.#token.value
    return this.#renew()
  }

  /** Another token than the one that the server did not accept. */
  async after(refused: string): Promise<string | undefined> {
    if (this.#token && this.#token.value !== refused) return this.token()
    return this.#renew()
  }

  /** Takes the answer of a sign-in. */
  signedIn(answer: Answer): void {
    const expires = this.#env.now() + answer.expires_in * 1000
    this.#enter(answer, expires)
    this.#env.tell({ kind: 'in', answer, expires })
  }

  /** Asks the server, although nothing says that there is a session: after signing in
   * somewhere else, such as at an identity provider. */
  async restore(): Promise<Who> {
    await this.#renew()
    return this.#who
  }

  /** Ends the session, here and in all tabs. */
  async signOut(): Promise<void> {
    const response = await this.#post('/api/auth/logout')
    if (!response.ok) throw await refusal(response)
    this.#leave()
    this.#env.tell({ kind: 'out' })
  }

  #renew(): Promise<string | undefined> {
    this.#asking ??= this.#refresh().finally(() => {
      this.#asking = undefined
    })
    return this.#asking
  }

  #refresh(): Promise<string | undefined> {
    const before = this.#token?.value
    return this.#env.alone(async (waited) => {
      if (waited) await this.#env.settle()
      if (this.#token && this.#token.value !== before) return this.#token.value
      const response = await this.#post('/api/auth/refresh')
      if (response.status === 401) {
        this.#leave()
        this.#env.tell({ kind: 'out' })
        return undefined
      }
      if (!response.ok) throw await refusal(response)
      this.signedIn((await response.json()) as Answer)
      return this.#token?.value
    })
  }

  async #post(path: string): Promise<Response> {
    try {
      return await this.#env.fetch(path, { method: 'POST', headers: { 'X-PeerGPU-Client': 'web' } })
    } catch {
      throw noAnswer()
    }
  }

  #enter(answer: Answer, expires: number) {
    this.#token = { value: answer.access_token, expires }
    this.#env.remember(true)
    this.#set({ status: 'in', user: answer.user })
  }

  #leave() {
    this.#token = undefined
    this.#env.remember(false)
    this.#set({ status: 'out' })
  }

  #set(who: Who) {
    this.#who = who
    for (const l of this.#listeners) l()
  }
}
