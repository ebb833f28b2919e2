import { LogOut } from 'lucide-react'
import { Dropdown, DropdownContent, DropdownItem, DropdownLabel, DropdownSeparator, DropdownTrigger } from '@/components/ui/dropdown'
import type { User } from '@/session'
import { signOut } from './sign-out'

/** The menu of who is signed in. Loaded after the first paint. */
export default function AccountMenu({ user }: { user: User }) {
  return (
    <Dropdown>
      <DropdownTrigger className="flex h-9 items-center rounded-full">
        <Initial name={user.name} />
        <span className="sr-only">Account of {user.name}</span>
      </DropdownTrigger>
      <DropdownContent>
        <DropdownLabel>
          <span className="block font-medium text-text">{user.name}</span>
          {user.email}
        </DropdownLabel>
        <DropdownSeparator />
        <DropdownItem onSelect={() => void signOut()}>
          <LogOut aria-hidden />
          Sign out
        </DropdownItem>
      </DropdownContent>
    </Dropdown>
  )
}

/** A person as a letter. */
export const Initial = ({ name }: { name: string }) => (
  <span
    aria-hidden
    className="grid size-8 place-items-center rounded-full bg-accent-soft text-sm font-semibold text-accent-text ring-1 ring-accent-text/25 ring-inset"
  >
    {[...name.trim()][0]?.toUpperCase() ?? '?'}
  </span>
)
