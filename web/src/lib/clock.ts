import { useSyncExternalStore } from 'react'

/** One timer for everything that shows how time passes. It stands still while nobody
 * looks. */
const listeners = new Set<() => void>()
let timer: ReturnType<typeof setInterval> | undefined
let now = Date.now()

function subscribe(listener: () => void) {
  listeners.add(listener)
  timer ??= setInterval(() => {
    now = Date.now()
    for (const l of listeners) l()
  }, 1000)
  return () => {
    listeners.delete(listener)
    if (listeners.size === 0) {
      clearInterval(timer)
      timer = undefined
    }
  }
}

function read() {
  if (listeners.size === 0) now = Date.now()
  return now
}

/** The time in milliseconds, renewed as often as the step says. */
export function useNow(step = 1000): number {
  return useSyncExternalStore(subscribe, () => Math.floor(read() / step) * step)
}
