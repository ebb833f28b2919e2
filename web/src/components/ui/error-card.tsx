import { RotateCw, TriangleAlert } from 'lucide-react'
import { asApiError } from '@/api/problem'
import { sentence } from '@/lib/sentence'
import { Button } from './button'
import { CopyButton } from './copy-button'

/** What went wrong, with another try and what to quote to the operator. */
export function ErrorCard({ error, title = 'This could not be loaded', retry }: { error: unknown; title?: string; retry?: () => void }) {
  const e = asApiError(error)
  return (
    <div role="alert" className="flex gap-3 rounded-card border border-line bg-surface p-4 sm:p-5">
      <TriangleAlert className="mt-0.5 size-5 shrink-0 text-danger-text" aria-hidden />
      <div className="grid min-w-0 gap-1">
        <p className="font-medium">{title}</p>
        <p className="text-sm text-muted">{sentence(e.message)}</p>
        {(retry || e.requestId) && (
          <div className="mt-2 flex flex-wrap items-center gap-x-4 gap-y-2">
            {retry && (
              <Button variant="secondary" size="small" onClick={retry}>
                <RotateCw aria-hidden />
                Try again
              </Button>
            )}
            {e.requestId && (
              <span className="flex items-center gap-1 text-[13px] text-muted">
                Request <code className="font-mono text-xs">{e.requestId.slice(0, 8)}</code>
                <CopyButton text={e.requestId} label="Copy the request id" />
              </span>
            )}
          </div>
        )}
      </div>
    </div>
  )
}
