import { expect, test } from 'vitest'
import { SessionStore, type Surroundings } from './store'

const user = { id: 'usr_1', email: 'ada@example.org', handle: 'ada', name: 'Ada', roles: ['renter' as const], created_at: '2026-01-01T00:00:00Z' }

/** A browser with tabs, and a server whose cookie is good until it says otherwise. */
function world() {
  const w = {
    now: 1000,
    asked: [] as string[],
    status: 200,
    hint: true,
    hold: Promise.resolve(),
    listeners: [] as ((m: never) => void)[],
    turn: Promise.resolve() as Promise<unknown>,
    busy: 0,
  }
  const tab = (): SessionStore => {
    let mine: ((m: never) => void) | undefined
    const env: Surroundings = {
      fetch: async (path) => {
        w.asked.push(path)
        await w.hold
        if (w.status === 0) throw new TypeError('fetch failed')
        const body = w.status === 200 ? { access_token: `token ${w.asked.length}`, token_type: 'Bearer', expires_in: 900, user } : { code: 'x', detail: 'no' }
        if (path.endsWith('/logout')) return new Response(null, { status: 204 })
        return Response.json(body, { status: w.status })
      },
      now: () => w.now,
      alone: (task) => {
        const waited = w.busy > 0
        w.busy++
        const run = w.turn.then(() => task(waited)).finally(() => w.busy--)
        w.turn = run.catch(() => undefined)
        return run
      },
      settle: async () => undefined,
      tell: (m) => w.listeners.filter((l) => l !== mine).forEach((l) => l(m as never)),
      hear: (l) => {
        mine = l as never
        w.listeners.push(l as never)
      },
      remembered: () => w.hint,
      remember: (b) => {
        w.hint = b
      },
    }
    return new SessionStore(env)
  }
  return { w, tab }
}

test('a browser that was never signed in does not ask', async () => {
  const { w, tab } = world()
  w.hint = false
  const s = tab()
  expect(await s.known()).toEqual({ status: 'out' })
  expect(await s.token()).toBeUndefined()
  expect(w.asked).toEqual([])
})

test('many requests at once share one refresh', async () => {
  const { w, tab } = world()
  const s = tab()
  expect(s.who().status).toBe('unknown')
  expect(await Promise.all([s.token(), s.token(), s.known().then(() => s.token())])).toEqual(['token 1', 'token 1', 'token 1'])
  expect(w.asked).toEqual(['/api/auth/refresh'])
})

test('tabs share one refresh', async () => {
  const { w, tab } = world()
  const [a, b] = [tab(), tab()]
  expect(await Promise.all([a.token(), b.token()])).toEqual(['token 1', 'token 1'])
  expect(w.asked).toHaveLength(1)
})

test('a token is renewed shortly before its end', async () => {
  const { w, tab } = world()
  const s = tab()
  await s.token()
  w.now += 870_000
  expect(await s.token()).toBe('token 1')
  w.now += 15_000
  expect(await s.token()).toBe('token 2')
})

test('a refused token is renewed once, however many requests it carried', async () => {
  const { w, tab } = world()
  const s = tab()
  const old = await s.token()
  const again = await Promise.all([s.after(old ?? ''), s.after(old ?? '')])
  expect(again).toEqual(['token 2', 'token 2'])
  expect(await s.after(old ?? '')).toBe('token 2')
  expect(w.asked).toHaveLength(2)
})

test('a session that is over signs out every tab', async () => {
  const { w, tab } = world()
  const [a, b] = [tab(), tab()]
  await a.token()
  expect(b.who().status).toBe('in')
  w.status = 401
  w.now += 1e9
  expect(await a.token()).toBeUndefined()
  expect([a.who().status, b.who().status, w.hint]).toEqual(['out', 'out', false])
})

test('a server that does not answer ends no session', async () => {
  const { w, tab } = world()
  const s = tab()
  for (const status of [0, 503]) {
    w.status = status
    await expect(s.known()).rejects.toMatchObject({ status })
    expect(s.who().status).toBe('unknown')
  }
  w.status = 200
  expect((await s.known()).status).toBe('in')
})

test('signing out ends it in all tabs', async () => {
  const { tab } = world()
  const [a, b] = [tab(), tab()]
  await a.token()
  await a.signOut()
  expect([a.who().status, b.who().status]).toEqual(['out', 'out'])
})
