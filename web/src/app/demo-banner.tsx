import { useMutation } from '@tanstack/react-query'
import { useRouter } from '@tanstack/react-router'
import { FlaskConical } from 'lucide-react'
import { api, query } from '@/api/client'
import { asApiError } from '@/api/problem'
import { notify } from '@/components/ui/toast'
import { cn } from '@/lib/cn'
import { session, useWho } from '@/session'
import { home } from './places'

/** In demo mode: that no money is real, and a click into each role. Nothing elsewhere.
 * It is at the end of the page, so that nothing moves when it comes. */
export function DemoBanner() {
  const { data } = query.useQuery('get', '/api/auth/providers', undefined, { staleTime: Infinity })
  const who = useWho()
  const router = useRouter()
  const demo = data?.demo
  const enter = useMutation({
    mutationFn: async (email: string) => {
      const { data: answer } = await api.POST('/api/auth/login', { body: { email, password: demo?.password ?? '' } })
      if (answer) session.signedIn(answer)
    },
    onSuccess: () => router.navigate({ to: home }),
    onError: (error) => void notify('error', 'The demo account cannot be used', { description: asApiError(error).message }),
  })
  if (!demo) return null
  const current = who.status === 'in' ? who.user.email : undefined
  return (
    <aside aria-label="Demo" className="sm:sticky sm:bottom-0 z-20 border-t border-accent-text/20 bg-accent-soft text-[13px]">
      <div className="container-page flex min-h-9 flex-wrap items-center gap-x-3 gap-y-1 py-1.5">
        <p className="flex items-center gap-2 text-accent-text">
          <FlaskConical className="size-4 shrink-0" aria-hidden />
          <span className="font-medium">Demo</span>
          <span className="max-sm:hidden">No money is real. See it as</span>
          <span className="sm:hidden">as</span>
        </p>
        <div className="flex gap-1">
          {demo.accounts.map((a) => (
            <button
              key={a.email}
              type="button"
              aria-pressed={a.email === current}
              disabled={enter.isPending}
              onClick={() => enter.mutate(a.email)}
              className={cn(
                'h-6 rounded-control px-2 font-medium text-accent-text ring-1 ring-accent-text/35 transition-colors ring-inset hover:bg-surface',
                a.email === current && 'bg-accent text-on-accent ring-transparent hover:bg-accent-hover',
              )}
            >
              <span className="sr-only">Sign in as </span>
              {a.role}
            </button>
          ))}
        </div>
      </div>
    </aside>
  )
}
