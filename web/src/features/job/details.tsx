import { Link } from '@tanstack/react-router'
import type { ReactNode } from 'react'
import { query, type Schemas } from '@/api/client'
import { Card, CardBody, CardHeader } from '@/components/ui/card'
import { Money } from '@/components/ui/money'
import { Table, Td, Th } from '@/components/ui/table'
import { Ago } from '@/components/ui/time'
import { bytes, counted, duration, mebibytes } from '@/lib/format'
import { Cost, Runtime } from '../jobs/cost'
import { JobState } from '../jobs/job-state'
import { joinCommand } from '../new-job/command'
import { explain } from './words'

type Job = Schemas['Job']

/** What was asked for, how often it was tried, and the runs before and after. */
export function Details({ job }: { job: Job }) {
  const { needs, limits } = job
  return (
    <div className="grid gap-5">
      <Card>
        <CardHeader title="What was asked for" />
        <CardBody>
          <dl className="grid gap-3 text-sm">
            <Row term="Command">
              <code className="font-mono text-[13px] break-all whitespace-pre-wrap">{joinCommand(job.command) || 'the image’s own'}</code>
            </Row>
            <Row term="Code">
              {job.source?.kind === 'image' ? (
                <code className="font-mono text-[13px] break-all">{job.source.image}</code>
              ) : job.source ? (
                <>a ZIP{job.source.size ? `, ${bytes(job.source.size)}` : ''}</>
              ) : (
                'none, a command in the default image'
              )}
              {job.image && (
                <>
                  , in <code className="font-mono text-[13px] break-all">{job.image}</code>
                </>
              )}
              {job.image_digest && <code className="block font-mono text-[13px] break-all text-muted">{job.image_digest}</code>}
            </Row>
            {job.env.length > 0 && (
              <Row term="Variables">
                <ul className="grid gap-0.5 font-mono text-[13px]">
                  {job.env.map((e) => (
                    <li key={e.name} className="break-all">
                      {e.name}={e.value ?? <span className="text-muted">{e.secret ? '(secret)' : '(not shown)'}</span>}
                    </li>
                  ))}
                </ul>
              </Row>
            )}
            <Row term="Needs">
              {[
                counted(needs.gpus, 'GPU'), needs.gpu_model, needs.min_vram_mb ? `${mebibytes(needs.min_vram_mb)} each` : undefined,
                needs.cpus ? counted(needs.cpus, 'CPU') : undefined, needs.memory_mb ? `${mebibytes(needs.memory_mb)} of memory` : undefined,
                needs.disk_mb ? `${mebibytes(needs.disk_mb)} of disk` : undefined, needs.region, ...(needs.tags ?? []),
                needs.verified ? 'a verified host' : undefined, isolations[needs.isolation ?? 'none'],
              ]
                .filter(Boolean)
                .join(', ')}
            </Row>
            <Row term="Limits">
              {duration(limits.max_runtime_s * 1000)} to run, {duration(limits.max_wait_s * 1000)} to wait
              {limits.max_cost_micros !== undefined && (
                <>
                  , <Money micros={limits.max_cost_micros} currency={job.currency} /> in all
                </>
              )}
              {needs.max_price_micros !== undefined && (
                <>
                  , <Money micros={needs.max_price_micros} currency={job.currency} /> per GPU-hour
                </>
              )}
            </Row>
            <Row term="Network">{[job.network.mode ?? 'none', ...(job.network.allow ?? [])].join(', ')}</Row>
            <Row term="Keeps">
              <code className="font-mono text-[13px]">{job.outputs.join(', ')}</code>
            </Row>
          </dl>
        </CardBody>
      </Card>
      {job.attempts.length > 0 && <Attempts job={job} />}
      {(job.version > 1 || job.rerun_of || job.origin === job.id) && <Versions job={job} />}
    </div>
  )
}

const isolations: Record<Schemas['Isolation'], string | undefined> = {
  none: undefined, process: 'a process sandbox', container: 'a container', gvisor: 'a container on a kernel of its own',
}

const Row = ({ term, children }: { term: string; children: ReactNode }) => (
  <div className="grid gap-x-4 gap-y-0.5 sm:grid-cols-[7rem_minmax(0,1fr)]">
    <dt className="text-muted">{term}</dt>
    <dd className="min-w-0">{children}</dd>
  </div>
)

function Attempts({ job }: { job: Job }) {
  return (
    <Card className="overflow-hidden">
      <CardHeader title="Attempts" />
      <Table aria-label="Attempts">
        <thead>
          <tr>
            <Th>No.</Th>
            <Th>Host</Th>
            <Th>Outcome</Th>
            <Th className="text-right">
              Paid<span className="max-sm:hidden"> time</span>
            </Th>
            <Th className="text-right max-sm:hidden">Cost</Th>
          </tr>
        </thead>
        <tbody>
          {job.attempts.map((a) => (
            <tr key={a.attempt}>
              <Td>{a.attempt}</Td>
              <Td className="min-w-20 wrap-anywhere">{a.host.name}</Td>
              <Td>
                {a.outcome === 'active' ? 'goes on' : a.outcome}
                {a.reason && <span className="block text-[13px] text-muted">{explain(a.reason).title}</span>}
              </Td>
              <Td className="text-right whitespace-nowrap">
                {a.billable_ms > 0 ? duration(a.billable_ms) : '–'}
                <span className="block text-muted sm:hidden">
                  <Money micros={a.cost_micros} currency={job.currency} />
                </span>
              </Td>
              <Td className="text-right max-sm:hidden">
                <Money micros={a.cost_micros} currency={job.currency} />
              </Td>
            </tr>
          ))}
        </tbody>
      </Table>
    </Card>
  )
}

function Versions({ job }: { job: Job }) {
  const versions = query.useQuery('get', '/api/jobs', { params: { query: { versions_of: job.id, limit: 50 } } })
  if (!versions.data || versions.data.items.length < 2) return null
  return (
    <Card className="overflow-hidden">
      <CardHeader title="Versions" />
      <Table aria-label="Versions of this job">
        <thead>
          <tr>
            <Th>Version</Th>
            <Th>State</Th>
            <Th>Submitted</Th>
            <Th className="text-right max-sm:hidden">Ran</Th>
            <Th className="text-right">Cost</Th>
          </tr>
        </thead>
        <tbody>
          {versions.data.items.map((v) => (
            <tr key={v.id} aria-current={v.id === job.id ? 'true' : undefined}>
              <Td>
                {v.id === job.id ? (
                  <span className="font-medium">{v.version}, this one</span>
                ) : (
                  <Link to="/jobs/$id" params={{ id: v.id }} className="underline underline-offset-4">
                    {v.version}
                  </Link>
                )}
              </Td>
              <Td>
                <JobState job={v} />
              </Td>
              <Td className="whitespace-nowrap text-muted">
                <Ago time={v.created_at} />
              </Td>
              <Td className="text-right max-sm:hidden">
                <Runtime job={v} />
              </Td>
              <Td className="text-right">
                <Cost job={v} />
              </Td>
            </tr>
          ))}
        </tbody>
      </Table>
    </Card>
  )
}
