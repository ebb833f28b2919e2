import { useRouter, type ErrorComponentProps } from '@tanstack/react-router'
import { asApiError } from '@/api/problem'
import { Button } from '@/components/ui/button'
import { CopyButton } from '@/components/ui/copy-button'
import { sentence } from '@/lib/sentence'
import { Message } from './message'
import { isMissing, MissingPart } from './missing-part'

/** What stands for a page that cannot be shown. */
export function ErrorPage({ error, reset }: Partial<ErrorComponentProps> & { error: unknown }) {
  const router = useRouter()
  if (isMissing(error)) return <MissingPart />
  const e = asApiError(error)
  if (e.status === 404) return <NotFoundPage />
  if (e.status === 403) {
    return (
      <Message title="Not for this account" code="403">
        {sentence(e.message)}
      </Message>
    )
  }
  const retry = () => {
    reset?.()
    void router.invalidate()
  }
  return (
    <Message title="This page could not be shown" code={e.status ? String(e.status) : undefined} action={<Button onClick={retry}>Try again</Button>}>
      {sentence(e.message)}
      {e.requestId && (
        <span className="mt-3 flex items-center justify-center gap-1 text-[13px]">
          Request <code className="font-mono text-xs">{e.requestId}</code>
          <CopyButton text={e.requestId} label="Copy the request id" />
        </span>
      )}
    </Message>
  )
}

/** What stands where there is nothing, or nothing that one may see. */
export const NotFoundPage = () => (
  <Message title="There is nothing here" code="404">
    The address is wrong, or what was here is gone, or it belongs to another account.
  </Message>
)
