import { notify } from '@/components/ui/toast'
import { asApiError } from '@/api/problem'
import { session } from '@/session'
import { router } from './router'

/** Signs out and leaves for the start page. */
export async function signOut() {
  try {
    await session.signOut()
    await router.navigate({ to: '/' })
  } catch (error) {
    void notify('error', 'You are still signed in', { description: asApiError(error).message })
  }
}
