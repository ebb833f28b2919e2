import { Link } from '@tanstack/react-router'
import { Menu, Moon, Search, Sun } from 'lucide-react'
import { lazy, Suspense, useState } from 'react'
import { Button } from '@/components/ui/button'
import { useWho } from '@/session'
import { openPalette } from './palette-host'
import { placesFor, type Place } from './places'
import { Logo } from './logo'
import { setTheme, useTheme } from './theme'

const AccountMenu = lazy(() => import('./account-menu'))
const MobileMenu = lazy(() => import('./mobile-menu'))

/** The bar at the top of every page. */
export function Header() {
  const who = useWho()
  const [menu, setMenu] = useState(false)
  return (
    <header className="sticky top-0 z-30 border-b border-line bg-ground/90 backdrop-blur-md">
      <div className="container-page flex h-14 items-center gap-2">
        <Link to="/" className="mr-3 rounded-control" aria-label="PeerGPU, start page">
          <Logo />
        </Link>
        <nav aria-label="Main" className="hidden md:block">
          <ul className="flex items-center gap-0.5">
            {placesFor(who)
              .filter((p) => !p.hidden)
              .map((p) => (
                <li key={p.label}>
                  <PlaceLink
                    place={p}
                    className="flex h-8 items-center rounded-control px-2.5 text-sm font-medium text-muted transition-colors hover:bg-hover hover:text-text data-[status=active]:text-text"
                  />
                </li>
              ))}
          </ul>
        </nav>
        <div className="flex-1" />
        <Button
          variant="secondary"
          size="small"
          className="hidden w-44 justify-start bg-sunken px-2.5 font-normal text-muted lg:inline-flex"
          onClick={openPalette}
          aria-keyshortcuts="Control+K Meta+K"
        >
          <Search aria-hidden />
          Search
          <kbd className="ml-auto pl-10 font-sans text-xs">Ctrl K</kbd>
        </Button>
        <Button variant="quiet" size="icon" className="lg:hidden" onClick={openPalette}>
          <Search aria-hidden />
          <span className="sr-only">Search</span>
        </Button>
        <ThemeButton />
        <div className="hidden min-w-9 items-center gap-2 md:flex">
          {who.status === 'out' && (
            <>
              <Button asChild variant="quiet" size="small">
                <Link to="/login">Sign in</Link>
              </Button>
              <Button asChild size="small">
                <Link to="/signup">Create account</Link>
              </Button>
            </>
          )}
          {who.status === 'in' && (
            <Suspense fallback={<span className="size-8 rounded-full bg-hover" />}>
              <AccountMenu user={who.user} />
            </Suspense>
          )}
        </div>
        <Button variant="quiet" size="icon" className="-mr-2 md:hidden" onClick={() => setMenu(true)} aria-expanded={menu} aria-haspopup="dialog">
          <Menu aria-hidden />
          <span className="sr-only">Menu</span>
        </Button>
        {menu && (
          <Suspense>
            <MobileMenu onClose={() => setMenu(false)} />
          </Suspense>
        )}
      </div>
    </header>
  )
}

/** A link to a place, in the app or out of it. */
export function PlaceLink({ place, icon, ...props }: { place: Place; icon?: boolean; className?: string; onClick?: () => void }) {
  const Icon = place.icon
  const content = (
    <>
      {icon && <Icon aria-hidden className="size-4 text-muted" />}
      {place.label}
    </>
  )
  return place.to ? (
    <Link to={place.to} {...props}>
      {content}
    </Link>
  ) : (
    <a href={place.href} {...props}>
      {content}
    </a>
  )
}

function ThemeButton() {
  const { dark } = useTheme()
  return (
    <Button variant="quiet" size="icon" onClick={() => setTheme(dark ? 'light' : 'dark')}>
      {dark ? <Sun aria-hidden /> : <Moon aria-hidden />}
      <span className="sr-only">{dark ? 'Use the light theme' : 'Use the dark theme'}</span>
    </Button>
  )
}
