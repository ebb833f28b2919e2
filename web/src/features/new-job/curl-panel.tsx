import { Code } from '@/components/ui/code'
import { curl } from './curl'

/** The same request for a terminal, kept equal to the form. */
export function CurlPanel({ body, kind, path, file }: { body: object; kind: 'bundle' | 'json'; path: string; file?: string }) {
  const text = curl(body, kind, path, location.origin, file)
  return (
    <details className="min-w-0 rounded-card border border-line bg-surface">
      <summary className="px-4 py-3 text-[15px] font-semibold sm:px-5">The same as curl</summary>
      <div className="grid grid-cols-[minmax(0,1fr)] gap-2 px-4 pb-4 sm:px-5 sm:pb-5">
        <Code title="In a shell" text={text} label="Request for a terminal" copy="Copy the command" />
        <p className="text-[13px] text-muted">
          <code className="font-mono">PEERGPU_TOKEN</code> is a personal access token: <code className="font-mono">POST /api/tokens</code>, in the{' '}
          <a href="/docs" className="text-accent-text underline underline-offset-4">
            API’s reference
          </a>
          .
        </p>
      </div>
    </details>
  )
}
