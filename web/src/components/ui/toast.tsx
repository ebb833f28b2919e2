import { lazy, Suspense, useSyncExternalStore } from 'react'

type Kind = 'success' | 'error' | 'info'
type Options = { description?: string; action?: { label: string; onClick: () => void } }

const Toaster = lazy(() => import('./toaster'))
let wanted = false
const listeners = new Set<() => void>()

/** Tells something that happened out of sight. What concerns what one looks at belongs
 * there instead. */
export async function notify(kind: Kind, text: string, options: Options = {}) {
  wanted = true
  for (const l of listeners) l()
  const { toast } = await import('sonner')
  toast[kind](text, options)
}

const subscribe = (l: () => void) => {
  listeners.add(l)
  return () => void listeners.delete(l)
}

/** Where notices appear. The code for it is loaded with the first of them. */
export function Toasts() {
  const show = useSyncExternalStore(subscribe, () => wanted)
  if (!show) return null
  return (
    <Suspense>
      <Toaster />
    </Suspense>
  )
}
