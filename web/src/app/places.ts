import type { LucideIcon } from 'lucide-react'
import { BookOpen, Cpu, ListChecks, Plus, Server } from 'lucide-react'
import type { FileRouteTypes } from '@/routeTree.gen'
import type { Who } from '@/session'

/** A page that the header, the palette and the keyboard lead to. */
export interface Place {
  label: string
  /** A route of the app, or a path that the server answers itself. */
  to?: FileRouteTypes['to']
  href?: string
  icon: LucideIcon
  /** Who sees it: everybody, or who is signed in, or who has the role. */
  for?: 'signed-in' | 'host' | 'admin'
  /** Pressed one after the other, such as `g j`. */
  keys?: string
  /** In the palette alone. */
  hidden?: boolean
  /** More words that the palette finds it by. */
  words?: string
}

/** Every place, in the order of the header. A page that is to be found adds itself. */
export const places: Place[] = [
  { label: 'GPUs', to: '/gpus', icon: Cpu, keys: 'g g', words: 'market offers rent price' },
  { label: 'Jobs', to: '/jobs', icon: ListChecks, for: 'signed-in', keys: 'g j', words: 'dashboard runs mine' },
  { label: 'New job', to: '/jobs/new', icon: Plus, for: 'signed-in', keys: 'n', hidden: true, words: 'submit run zip' },
  { label: 'Machines', to: '/host', icon: Server, for: 'host', keys: 'g m', words: 'host earnings gpu price enrol' },
  { label: 'API', href: '/docs', icon: BookOpen, words: 'documentation reference openapi curl' },
]

/** Where one is after signing in, unless one was on the way to somewhere. */
export const home: FileRouteTypes['to'] = '/jobs'

/** The places that somebody may see. */
export function placesFor(who: Who): Place[] {
  return places.filter(({ for: whom }) => {
    if (!whom) return true
    if (who.status !== 'in') return false
    return whom === 'signed-in' || who.user.roles.includes(whom)
  })
}
