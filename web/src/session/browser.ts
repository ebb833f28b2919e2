import type { Surroundings } from './store'

const lock = 'peergpu.refresh'
const hint = 'peergpu.signed-in'

/** The real browser: Web Locks make the tabs take turns, a channel carries what one of
 * them got to the others. */
export function browser(): Surroundings {
  const channel = new BroadcastChannel('peergpu.session')
  return {
    fetch: (path, init) => fetch(path, init),
    now: () => Date.now(),
    async alone(task) {
      const free = await navigator.locks.query().then((q) => !q.held?.some((l) => l.name === lock))
      return navigator.locks.request(lock, () => task(!free))
    },
    settle: () => new Promise((done) => setTimeout(done, 50)),
    // A BroadcastChannel is of one origin; only windows take one as target.
    // oxlint-disable-next-line unicorn/require-post-message-target-origin
    tell: (message) => channel.postMessage(message),
    hear: (listener) => channel.addEventListener('message', (e) => listener(e.data)),
    remembered: () => stored() === '1',
    remember: (signedIn) => {
      try {
        if (signedIn) localStorage.setItem(hint, '1')
        else localStorage.removeItem(hint)
      } catch {
        // Storage is forbidden: the session ends with the page.
      }
    },
  }
}

function stored(): string | null {
  try {
    return localStorage.getItem(hint)
  } catch {
    return null
  }
}
