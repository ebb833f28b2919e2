import { Download, FileText, PackageOpen } from 'lucide-react'
import { useState } from 'react'
import { api, query, type Schemas } from '@/api/client'
import { asApiError } from '@/api/problem'
import { Button } from '@/components/ui/button'
import { Card, CardBody, CardHeader } from '@/components/ui/card'
import { CopyButton } from '@/components/ui/copy-button'
import { Empty } from '@/components/ui/empty'
import { ErrorCard } from '@/components/ui/error-card'
import { Skeleton } from '@/components/ui/skeleton'
import { Table, Td, Th } from '@/components/ui/table'
import { notify } from '@/components/ui/toast'
import { bytes } from '@/lib/format'
import { sentence } from '@/lib/sentence'
import { ended } from '../jobs/rerun'
import { figures } from './words'

type Job = Schemas['Job']

const first = 12 // figures that are shown at once

/** What a job left: its figures and its files. */
export function Results({ job }: { job: Job }) {
  return (
    <div className="grid gap-5">
      {job.metrics && <Metrics metrics={job.metrics} />}
      <Files job={job} />
    </div>
  )
}

function Metrics({ metrics }: { metrics: Record<string, unknown> }) {
  // What stands at the top of the file is what its author wants to be seen.
  const all = figures(metrics).toSorted(([a], [b]) => a.split('.').length - b.split('.').length)
  if (all.length === 0) return null
  return (
    <Card>
      <CardHeader title="Metrics" />
      <CardBody>
        <Figures list={all.slice(0, first)} />
        {all.length > first && (
          <details className="mt-3">
            <summary className="text-[13px] text-accent-text">{all.length - first} more</summary>
            <div className="pt-3">
              <Figures list={all.slice(first)} />
            </div>
          </details>
        )}
      </CardBody>
    </Card>
  )
}

const Figures = ({ list }: { list: [string, string][] }) => (
  <dl className="grid gap-x-8 gap-y-3 sm:grid-cols-3">
    {list.map(([name, value]) => (
      <div key={name} className="min-w-0">
        <dt className="truncate text-[13px] text-muted">{name}</dt>
        <dd className="num font-medium break-words">{value}</dd>
      </div>
    ))}
  </dl>
)

function Files({ job }: { job: Job }) {
  const files = query.useQuery('get', '/api/jobs/{id}/artifacts', { params: { path: { id: job.id }, query: { limit: 100 } } })
  if (files.error && !files.data) return <ErrorCard error={files.error} title="The files could not be loaded" retry={() => void files.refetch()} />
  if (!files.data) return <Skeleton className="h-40 w-full" />
  const { items } = files.data
  if (items.length === 0) {
    return (
      <Card>
        <Empty icon={<PackageOpen />} title={ended(job) ? 'It left no files' : 'No files yet'}>
          Files that match <code className="font-mono text-[13px]">{job.outputs.join(', ')}</code> in the working folder appear here when the command has ended.
        </Empty>
      </Card>
    )
  }
  return (
    <Card className="overflow-hidden">
      <CardHeader title="Files">
        <Fetch label="Download all" name={`${job.name}.zip`} link={async () => (await api.POST('/api/jobs/{id}/artifacts.zip/link', { params: { path: { id: job.id } } })).data?.url} />
      </CardHeader>
      <Table aria-label="Files that the job left">
        <thead>
          <tr>
            <Th>Path</Th>
            <Th className="text-right max-sm:hidden">Size</Th>
            <Th className="max-sm:hidden">SHA-256</Th>
            <Th>
              <span className="sr-only">Download</span>
            </Th>
          </tr>
        </thead>
        <tbody>
          {items.map((f) => (
            <tr key={f.id}>
              <Td>
                <span className="flex items-center gap-2">
                  <FileText className="size-4 shrink-0 text-muted max-sm:hidden" aria-hidden />
                  <span className="break-all">{f.path}</span>
                </span>
                <span className="flex items-center gap-3 text-[13px] text-muted sm:hidden">
                  {bytes(f.size)} <Sum file={f} />
                </span>
              </Td>
              <Td className="text-right whitespace-nowrap max-sm:hidden">{bytes(f.size)}</Td>
              <Td className="max-sm:hidden">
                <Sum file={f} />
              </Td>
              <Td className="text-right">
                <Fetch
                  label="Download"
                  hidden={f.path}
                  name={f.path.split('/').pop() ?? 'result'}
                  link={async () => (await api.POST('/api/jobs/{id}/artifacts/{artifact}/link', { params: { path: { id: job.id, artifact: f.id } } })).data?.url}
                />
              </Td>
            </tr>
          ))}
        </tbody>
      </Table>
      {files.data.next && <p className="border-t border-line px-5 py-3 text-[13px] text-muted">Only the first hundred are listed; the ZIP has all {job.artifacts.count}.</p>}
    </Card>
  )
}

/** What a file is compared by. */
const Sum = ({ file: { path, sha256 } }: { file: Schemas['Artifact'] }) => (
  <span className="flex items-center gap-1">
    <code className="font-mono text-xs text-muted" title={sha256}>
      {sha256.slice(0, 12)}…
    </code>
    <CopyButton text={sha256} label={`Copy the SHA-256 of ${path}`} />
  </span>
)

/** Downloads by a link that is made when it is asked for, and good for a minute. */
function Fetch({ label, hidden, name, link }: { label: string; hidden?: string; name: string; link: () => Promise<string | undefined> }) {
  const [busy, setBusy] = useState(false)
  const start = async () => {
    setBusy(true)
    try {
      const url = await link()
      if (!url) return
      const a = document.createElement('a')
      a.href = url
      a.download = name
      a.click()
    } catch (error) {
      void notify('error', 'It could not be downloaded', { description: sentence(asApiError(error).message) })
    } finally {
      setBusy(false)
    }
  }
  return (
    <Button variant="secondary" size="small" busy={busy} onClick={() => void start()}>
      <Download aria-hidden />
      <span className={hidden && 'max-sm:sr-only'}>{label}</span>
      {hidden && <span className="sr-only"> {hidden}</span>}
    </Button>
  )
}
