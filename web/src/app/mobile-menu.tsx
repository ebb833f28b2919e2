import { Link } from '@tanstack/react-router'
import { LogOut } from 'lucide-react'
import { Button } from '@/components/ui/button'
import { Dialog, DialogContent } from '@/components/ui/dialog'
import { useWho } from '@/session'
import { PlaceLink } from './header'
import { placesFor } from './places'
import { signOut } from './sign-out'

/** The header's links where there is no room for them. Loaded when it is opened. */
export default function MobileMenu({ onClose }: { onClose: () => void }) {
  const who = useWho()
  return (
    <Dialog open onOpenChange={onClose}>
      <DialogContent title={who.status === 'in' ? who.user.name : 'Menu'} className="top-3">
        <nav aria-label="Main" className="mt-3">
          <ul>
            {placesFor(who)
              .filter((p) => !p.hidden)
              .map((p) => (
                <li key={p.label}>
                  <PlaceLink place={p} icon onClick={onClose} className="flex h-11 items-center gap-3 rounded-control text-[15px] font-medium" />
                </li>
              ))}
          </ul>
        </nav>
        <div className="mt-3 grid gap-2 border-t border-line pt-4">
          {who.status === 'in' ? (
            <Button
              variant="secondary"
              size="large"
              onClick={() => {
                onClose()
                void signOut()
              }}
            >
              <LogOut aria-hidden />
              Sign out
            </Button>
          ) : (
            <>
              <Button asChild size="large">
                <Link to="/signup" onClick={onClose}>
                  Create account
                </Link>
              </Button>
              <Button asChild variant="secondary" size="large">
                <Link to="/login" onClick={onClose}>
                  Sign in
                </Link>
              </Button>
            </>
          )}
        </div>
      </DialogContent>
    </Dialog>
  )
}
