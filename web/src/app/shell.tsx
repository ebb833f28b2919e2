import { Outlet, useRouterState } from '@tanstack/react-router'
import { useEffect, useRef } from 'react'
import { Toasts } from '@/components/ui/toast'
import { LiveUpdates } from '@/live/me'
import { DemoBanner } from './demo-banner'
import { Footer } from './footer'
import { Header } from './header'
import { PaletteHost } from './palette-host'

/** What is around every page. */
export function Shell() {
  const main = useRef<HTMLElement>(null)
  const path = useRouterState({ select: (s) => s.resolvedLocation?.pathname })
  const last = useRef(path)
  useEffect(() => {
    // A screen reader starts reading at the new page, and Tab goes on from its beginning.
    if (last.current !== undefined && last.current !== path) main.current?.focus({ preventScroll: true })
    last.current = path
  }, [path])
  return (
    <div className="flex min-h-dvh flex-col">
      <a
        href="#main"
        className="sr-only z-50 rounded-control bg-accent px-4 py-2 font-medium text-on-accent focus:not-sr-only focus:fixed focus:top-3 focus:left-3"
      >
        Skip to content
      </a>
      <Header />
      <main id="main" ref={main} tabIndex={-1} className="flex-1">
        <Outlet />
      </main>
      <Footer />
      <DemoBanner />
      <PaletteHost />
      <Toasts />
      <LiveUpdates />
    </div>
  )
}
