import { redirect } from '@tanstack/react-router'
import { home } from '@/app/places'
import { safeNext } from '@/lib/next'
import { session } from '@/session'

/** Reads where to go after signing in from the URL; what is no place of this site is
 * left out. It has to be undefined, not absent: the router lays what it gets here over
 * what is in the URL. */
export const readNext = (search: Record<string, unknown>): { next?: string } => ({ next: safeNext(search.next) })

/** For `beforeLoad`: who is signed in already goes on. A server that does not answer
 * keeps nobody from the form. */
export async function signedOut({ search }: { search: { next?: string } }) {
  const who = await session.known().catch(() => undefined)
  if (who?.status === 'in') throw redirect({ href: search.next ?? home })
}
