import { redirect } from '@tanstack/react-router'
import { ApiError } from '@/api/problem'
import { session } from '@/session'

/** For `beforeLoad` of a route: only who is signed in goes on; others sign in first and
 * come back. */
export async function signedIn({ location }: { location: { href: string } }) {
  const who = await session.known()
  if (who.status !== 'in') throw redirect({ to: '/login', search: { next: location.href } })
  return { user: who.user }
}

/** For `beforeLoad`: only who has the role goes on; others who are signed in see that
 * they may not. */
export function needs(role: 'host' | 'admin') {
  return async (at: { location: { href: string } }) => {
    const { user } = await signedIn(at)
    if (!user.roles.includes(role)) {
      throw new ApiError({ status: 403, code: 'forbidden', detail: role === 'host' ? 'This account rents GPUs and lends none. An administrator of this installation can give it the role host.' : 'This page is for administrators.' })
    }
    return { user }
  }
}
