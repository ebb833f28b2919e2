import { CircleAlert } from 'lucide-react'
import type { ApiError } from '@/api/problem'
import { useNow } from '@/lib/clock'
import { countdown } from '@/lib/format'
import { sentence } from '@/lib/sentence'

/** What keeps a form from being sent, and until when if that is a matter of time. */
export function FormError({ error, title, until }: { error: ApiError | undefined; title?: string; until?: number }) {
  if (!error) return null
  return (
    <div role="alert" className="flex gap-2.5 rounded-lg bg-danger-soft p-3 text-sm text-danger-text">
      <CircleAlert className="mt-0.5 size-4 shrink-0" aria-hidden />
      <div>
        <p className="font-medium">{error.status === 429 ? 'Too many tries' : (title ?? sentence(error.message))}</p>
        {error.status === 429 ? <Wait until={until ?? 0} /> : title && <p>{sentence(error.message)}</p>}
      </div>
    </div>
  )
}

/** A countdown that a screen reader hears once, not each second. */
function Wait({ until }: { until: number }) {
  const left = (until - useNow()) / 1000
  if (left <= 0) return <p>You can try again now.</p>
  return (
    <p>
      You can try again in <span aria-hidden className="num">{countdown(left)}</span>
      <span className="sr-only">{Math.ceil(left / 60)} min</span>.
    </p>
  )
}

/** How long a form has to wait after an error: the time at which it may be sent again,
 * and whether that is still to come. */
export function useWait(error: ApiError | undefined): { until: number; waiting: boolean } {
  const now = useNow(error?.status === 429 ? 1000 : 3_600_000)
  const until = error?.status === 429 ? error.at + (error.retryAfter ?? 1) * 1000 : 0
  return { until, waiting: until > now }
}

