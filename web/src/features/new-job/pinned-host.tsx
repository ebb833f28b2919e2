import { query } from '@/api/client'
import { Button } from '@/components/ui/button'

/** Which host the job is for, where it is for one alone, and what frees it. */
export function PinnedHost({ id, free }: { id: string; free: () => void }) {
  const host = query.useQuery('get', '/api/market/hosts/{id}', { params: { path: { id } } }, { staleTime: Infinity })
  return (
    <p className="flex flex-wrap items-center justify-between gap-2 rounded-lg bg-sunken p-3 text-sm">
      <span className="min-w-0">
        Only on the host {host.data ? <span className="font-medium">{host.data.name}</span> : <code className="font-mono text-[13px]">{id.slice(0, 12)}…</code>}
      </span>
      <Button variant="link" size="inline" onClick={free}>
        Any host
      </Button>
    </p>
  )
}
