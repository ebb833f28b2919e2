import { useRouter } from '@tanstack/react-router'
import { api } from '@/api/client'
import { home } from '@/app/places'
import { session } from '@/session'

/** Signs in and goes to where one was on the way to. */
export function useEnter(next: string | undefined) {
  const router = useRouter()
  return async (credentials: { email: string; password: string }) => {
    const { data } = await api.POST('/api/auth/login', { body: credentials })
    if (data) session.signedIn(data)
    router.history.push(next ?? home)
  }
}
