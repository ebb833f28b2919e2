import { useRouter } from '@tanstack/react-router'
import { Command } from 'cmdk'
import { LogIn, LogOut, Monitor, Moon, Sun, UserPlus, type LucideIcon } from 'lucide-react'
import { Dialog as Radix } from 'radix-ui'
import type { ReactNode } from 'react'
import { follow } from '@/app/follow'
import { placesFor } from '@/app/places'
import { signOut } from '@/app/sign-out'
import { setTheme } from '@/app/theme'
import { useFocusReturn } from '@/components/ui/focus-return'
import { useWho } from '@/session'

/** Everything that one can go to or do, found by typing. Loaded when it is opened. */
export default function Palette({ onClose }: { onClose: () => void }) {
  const router = useRouter()
  const who = useWho()
  const focusReturn = useFocusReturn()
  const run = (action: () => void) => () => {
    onClose()
    action()
  }
  return (
    <Radix.Root open onOpenChange={onClose}>
      <Radix.Portal>
        <Radix.Overlay className="fixed inset-0 z-40 bg-overlay" />
        <Radix.Content
          aria-describedby={undefined}
          {...focusReturn}
          className="fixed top-[max(1rem,14vh)] left-1/2 z-50 w-[calc(100vw-2rem)] max-w-xl -translate-x-1/2 animate-appear overflow-hidden rounded-card border border-line bg-surface shadow-float"
        >
          <Radix.Title className="sr-only">Search pages and actions</Radix.Title>
          <Command loop label="Search pages and actions">
            <Command.Input
              placeholder="Go to a page, or do something"
              className="h-12 w-full border-b border-line bg-transparent px-4 text-[15px] outline-none"
            />
            <Command.List className="max-h-[min(24rem,55vh)] overflow-y-auto p-1.5">
              <Command.Empty>
                {/* oxlint-disable-next-line jsx-a11y/prefer-tag-over-role -- a list box has options, or is none */}
                <div role="option" aria-disabled aria-selected={false} tabIndex={-1} className="px-3 py-8 text-center text-sm text-muted">
                  Nothing is called that.
                </div>
              </Command.Empty>
              <Group heading="Go to">
                {placesFor(who).map((p) => (
                  <Item key={p.label} icon={p.icon} words={p.words} keys={p.keys} onSelect={run(() => follow(router, p))}>
                    {p.label}
                  </Item>
                ))}
              </Group>
              <Group heading="Theme">
                <Item icon={Sun} words="theme" onSelect={run(() => setTheme('light'))}>
                  Light
                </Item>
                <Item icon={Moon} words="theme" onSelect={run(() => setTheme('dark'))}>
                  Dark
                </Item>
                <Item icon={Monitor} words="theme automatic" onSelect={run(() => setTheme('system'))}>
                  As the system
                </Item>
              </Group>
              <Group heading="Account">
                {who.status === 'in' ? (
                  <Item icon={LogOut} words="log out leave" onSelect={run(() => void signOut())}>
                    Sign out
                  </Item>
                ) : (
                  <>
                    <Item icon={LogIn} words="log in" onSelect={run(() => void router.navigate({ to: '/login' }))}>
                      Sign in
                    </Item>
                    <Item icon={UserPlus} words="register sign up" onSelect={run(() => void router.navigate({ to: '/signup' }))}>
                      Create account
                    </Item>
                  </>
                )}
              </Group>
            </Command.List>
          </Command>
        </Radix.Content>
      </Radix.Portal>
    </Radix.Root>
  )
}

const Group = ({ heading, children }: { heading: string; children: ReactNode }) => (
  <Command.Group
    heading={heading}
    className="[&_[cmdk-group-heading]]:px-2.5 [&_[cmdk-group-heading]]:pt-2 [&_[cmdk-group-heading]]:pb-1 [&_[cmdk-group-heading]]:text-xs [&_[cmdk-group-heading]]:text-muted"
  >
    {children}
  </Command.Group>
)

function Item({
  icon: Icon,
  words,
  keys,
  children,
  onSelect,
}: {
  icon: LucideIcon
  words?: string
  keys?: string
  children: string
  onSelect: () => void
}) {
  return (
    <Command.Item
      keywords={words?.split(' ')}
      onSelect={onSelect}
      className="flex h-10 items-center gap-3 rounded-control px-2.5 text-sm data-[selected=true]:bg-hover"
    >
      <Icon className="size-4 text-muted" aria-hidden />
      {children}
      {keys && <kbd className="ml-auto font-sans text-xs text-muted">{keys}</kbd>}
    </Command.Item>
  )
}
