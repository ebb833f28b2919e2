import { useRouter } from '@tanstack/react-router'
import { lazy, Suspense, useLayoutEffect, useSyncExternalStore } from 'react'
import { session } from '@/session'
import { follow } from './follow'
import { placesFor } from './places'

const Palette = lazy(() => import('@/features/palette/palette'))

let open = false
const listeners = new Set<() => void>()

function set(value: boolean) {
  open = value
  for (const l of listeners) l()
}

/** Opens the command palette. */
export const openPalette = () => set(true)

const subscribe = (l: () => void) => {
  listeners.add(l)
  return () => void listeners.delete(l)
}

const sequence = 1000 // ms in which the second key of two has to follow

/** Listens to the keys that work everywhere, and holds the palette. */
export function PaletteHost() {
  const router = useRouter()
  const shown = useSyncExternalStore(subscribe, () => open)
  // Whoever sees the page can press a key.
  useLayoutEffect(() => {
    let first = ''
    let at = 0
    const onKey = (e: KeyboardEvent) => {
      if ((e.metaKey || e.ctrlKey) && !e.altKey && !e.shiftKey && e.key.toLowerCase() === 'k') {
        e.preventDefault()
        set(!open)
        return
      }
      // Single keys belong to whoever types, and to what is open above the page.
      if (e.metaKey || e.ctrlKey || e.altKey || typing(e.target) || document.querySelector('[role=dialog],[role=menu]')) return
      const pair = e.timeStamp - at < sequence ? `${first} ${e.key}` : e.key
      first = e.key
      at = e.timeStamp
      const place = placesFor(session.who()).find((p) => p.keys === pair)
      if (place) {
        e.preventDefault()
        follow(router, place)
      }
    }
    document.addEventListener('keydown', onKey)
    return () => document.removeEventListener('keydown', onKey)
  }, [router])
  if (!shown) return null
  return (
    <Suspense>
      <Palette onClose={() => set(false)} />
    </Suspense>
  )
}

const typing = (target: EventTarget | null) =>
  target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName))
