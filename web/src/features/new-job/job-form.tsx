import { useQueryClient } from '@tanstack/react-query'
import { useNavigate } from '@tanstack/react-router'
import { useEffect, useLayoutEffect, useRef, useState, type FormEvent } from 'react'
import { api, type Schemas } from '@/api/client'
import { ApiError, asApiError } from '@/api/problem'
import { Button } from '@/components/ui/button'
import { Card, CardBody, CardHeader } from '@/components/ui/card'
import { Field } from '@/components/ui/field'
import { Input, Textarea } from '@/components/ui/input'
import { notify } from '@/components/ui/toast'
import { bytes } from '@/lib/format'
import { sentence } from '@/lib/sentence'
import { cn } from '@/lib/cn'
import { useWho } from '@/session'
import { FormError, useWait } from '../auth/form-error'
import { TopUpDialog } from '../jobs/top-up'
import { BundleDrop, type Bundle } from './bundle-drop'
import { CommandField } from './command-field'
import { CurlPanel } from './curl-panel'
import { dropDraft, saveDraft, withoutPins } from './draft'
import { EnvFields } from './env-fields'
import { Fold, folded } from './fold'
import { EstimatePanel, useEstimate } from './estimate'
import { NeedsCard } from './needs-card'
import { sendBundle } from './send'
import { empty, fieldAt, toRequest, type Field as Name, type Problems, type Values } from './values'

type Sending = { sent: number; total: number; abort: AbortController } | undefined

/** The form of a job, its plan beside it, and how it is sent. */
export function JobForm({ initial, pinned, earlier, example }: { initial: Values; pinned?: Partial<Values>; earlier?: Schemas['Job']; example?: boolean }) {
  const account = useWho().user?.id
  const navigate = useNavigate()
  const client = useQueryClient()
  const form = useRef<HTMLFormElement>(null)
  const [values, setValues] = useState(initial)
  const [bundle, setBundle] = useState<Bundle>()
  const [shown, setShown] = useState<Problems>({})
  const [complaint, setComplaint] = useState<Problems>()
  const [failure, setFailure] = useState<ApiError>()
  const [sending, setSending] = useState<Sending>()
  const [busy, setBusy] = useState(false)
  const [missing, setMissing] = useState<number>()
  // One key for one intent: what was sent and not answered is not submitted twice.
  const [key, setKey] = useState(() => crypto.randomUUID())
  const { body } = toRequest(values)
  const estimate = useEstimate(body)
  const { until, waiting } = useWait(failure)

  // What was typed is kept, and not what an example or an offer brought along.
  useEffect(() => {
    if (!earlier && values !== initial) saveDraft(withoutPins(values, pinned), account)
  }, [values, initial, pinned, earlier, account])
  // Who has gone to another page meanwhile stays there.
  const here = useRef(true)
  useEffect(() => {
    here.current = true
    return () => {
      here.current = false
    }
  }, [])

  useEffect(() => {
    if (!busy) return
    const stay = (e: BeforeUnloadEvent) => e.preventDefault()
    window.addEventListener('beforeunload', stay)
    return () => window.removeEventListener('beforeunload', stay)
  }, [busy])

  const clear = (field: Name) => setShown((s) => ({ ...s, [field]: undefined }))
  const set = <K extends keyof Values>(field: K, value: Values[K]) => {
    setValues((v) => ({ ...v, [field]: value }))
    clear(field)
    setKey(crypto.randomUUID())
  }
  const text = (field: keyof Values) => ({
    value: values[field] as string,
    onChange: (e: { target: { value: string } }) => set(field, e.target.value as never),
    autoComplete: 'off',
  })

  const complain = (problems: Problems) => {
    setShown(problems)
    setComplaint(problems)
  }

  // Once the fields say that they are wrong, which may be many frames after the answer.
  useLayoutEffect(() => {
    if (!complaint) return
    const wrong = [...(form.current?.querySelectorAll<HTMLElement>('[aria-invalid=true], [data-invalid=true]') ?? [])]
    // A field may lie in a part that is folded.
    for (const field of wrong) field.closest('details')?.setAttribute('open', '')
    wrong[0]?.focus({ preventScroll: true })
    wrong[0]?.scrollIntoView({ block: 'center' })
  }, [complaint])

  const submit = async (e: FormEvent) => {
    e.preventDefault()
    setFailure(undefined)
    const asked = toRequest(values)
    const { problems } = asked
    if (values.source === 'bundle' && !bundle) problems.bundle = 'Choose the ZIP of your code.'
    if (Object.keys(problems).length > 0) return complain(problems)
    setBusy(true)
    try {
      const job = await send()
      dropDraft(account)
      void client.invalidateQueries({ queryKey: ['get', '/api/jobs'] })
      void client.invalidateQueries({ queryKey: ['get', '/api/billing/account'] })
      if (here.current) await navigate({ href: `/jobs/${job.id}` })
      else void notify('success', `${job.name} was submitted`)
    } catch (thrown) {
      const error = asApiError(thrown)
      // Without an answer nobody knows whether it arrived: then the key stays.
      if (error.status !== 0) setKey(crypto.randomUUID())
      const refused: Problems = {}
      for (const f of error.fields) {
        const field = fieldAt(f.pointer)
        if (field) refused[field] ??= sentence(f.detail)
      }
      if (Object.keys(refused).length > 0) complain(refused)
      if (error.fields.length === 0 || error.fields.some((f) => !fieldAt(f.pointer))) setFailure(error)
    } finally {
      setBusy(false)
      setSending(undefined)
    }
  }

  const send = async (): Promise<Schemas['Job']> => {
    const header = { 'Idempotency-Key': key }
    if (earlier) {
      const { data } = await api.POST('/api/jobs/{id}/rerun', { params: { path: { id: earlier.id }, header }, body: withoutSource(body) })
      return data as Schemas['Job']
    }
    if (values.source === 'bundle' && bundle) {
      const abort = new AbortController()
      setSending({ sent: 0, total: bundle.file.size, abort })
      return sendBundle(body, bundle.file, key, (sent, total) => setSending({ sent, total, abort }), abort.signal)
    }
    const { data } = await api.POST('/api/jobs', { params: { header }, body })
    return data as Schemas['Job']
  }

  const currency = estimate.data?.currency ?? 'USD'

  return (
    <>
      <form ref={form} noValidate onSubmit={(e) => void submit(e)} className="grid items-start gap-5 lg:grid-cols-[minmax(0,1fr)_21rem]">
        <fieldset disabled={busy} className="grid min-w-0 grid-cols-[minmax(0,1fr)] gap-5">
          <Card>
            <CardHeader title="What runs" />
            <CardBody className="grid gap-5">
              {earlier ? (
                <p className="rounded-lg bg-sunken p-3 text-sm">
                  {earlier.source?.kind === 'image' ? (
                    <>
                      The image <code className="font-mono text-[13px] break-all">{earlier.source.image}</code> of the earlier run.
                    </>
                  ) : earlier.source ? (
                    <>The ZIP of the earlier run{earlier.source.size ? `, ${bytes(earlier.source.size)}` : ''}.</>
                  ) : (
                    <>The installation’s default image, as before.</>
                  )}
                </p>
              ) : (
                <>
                  <SourceChoice value={values.source} onChange={(source) => set('source', source)} />
                  {values.source === 'bundle' ? (
                    <>
                      {example && !bundle && (
                        <p className="text-sm text-muted">
                          Pack the folder <code className="font-mono text-[13px]">examples/digits</code> of the repository: everything else is filled in.
                        </p>
                      )}
                      <BundleDrop
                        bundle={bundle}
                        error={shown.bundle}
                        onChange={(b) => {
                          setBundle(b)
                          clear('bundle')
                          setKey(crypto.randomUUID())
                        }}
                      />
                    </>
                  ) : (
                    <Field
                      label="Image"
                      error={shown.image}
                      hint="A public registry’s reference, best with its digest. It needs a host with container isolation and waits for one."
                    >
                      <Input {...text('image')} placeholder="docker.io/library/python:3.12-slim" spellCheck={false} className="font-mono text-[13px]" />
                    </Field>
                  )}
                </>
              )}
              {values.source !== 'image' && (
                <Field label="Image that it runs in" error={shown.image} hint="Needs a host with container isolation. Empty: the host’s own system, or the installation’s default image.">
                  <Input {...text('image')} placeholder="none" spellCheck={false} className="font-mono text-[13px]" />
                </Field>
              )}
              <CommandField
                value={values.command}
                error={shown.command}
                archive={bundle?.archive}
                optional={values.source === 'image'}
                onChange={(command) => set('command', command)}
              />
              <Field label="Name" error={shown.name} hint="Empty: the command.">
                <Input {...text('name')} maxLength={100} />
              </Field>
              <EnvFields env={values.env} problems={shown} onChange={(env) => set('env', env)} />
            </CardBody>
          </Card>

          <NeedsCard values={values} problems={shown} text={text} set={set} />

          <Card>
            <CardHeader title="Limits and results" />
            <CardBody className="grid gap-4">
              <div className="grid items-start gap-4 sm:grid-cols-2">
                <Field label="Longest run" error={shown.minutes} hint="Minutes; then it is stopped and what it left is kept.">
                  <Input {...text('minutes')} inputMode="decimal" />
                </Field>
                <Field label="Most it may cost" error={shown.maxCost} hint={`${currency}, held until it ends. Empty: the price for the longest run.`}>
                  <Input {...text('maxCost')} inputMode="decimal" placeholder="price × longest run" />
                </Field>
              </div>
              <Fold title="Highest price, longest wait, files to keep" open={folded(values, ['maxPrice', 'waitHours', 'outputs'])}>
                <div className="grid items-start gap-4 sm:grid-cols-2">
                  <Field label="Highest price" error={shown.maxPrice} hint={`${currency} per GPU-hour`}>
                    <Input {...text('maxPrice')} inputMode="decimal" placeholder="any" />
                  </Field>
                  <Field label="Longest wait" error={shown.waitHours} hint="Hours in the queue; then it expires and costs nothing.">
                    <Input {...text('waitHours')} inputMode="decimal" />
                  </Field>
                  <div className="sm:col-span-2">
                    <Field label="Files to keep" error={shown.outputs} hint="One pattern a line, below the working folder.">
                      <Textarea {...text('outputs')} rows={3} spellCheck={false} className="font-mono text-[13px]" />
                    </Field>
                  </div>
                </div>
              </Fold>
            </CardBody>
          </Card>
          <CurlPanel body={earlier ? withoutSource(body) : body} kind={!earlier && values.source === 'bundle' ? 'bundle' : 'json'} path={earlier ? `/api/jobs/${earlier.id}/rerun` : '/api/jobs'} file={bundle?.file.name} />
        </fieldset>

        <aside aria-label="Estimate" className="grid gap-4 lg:sticky lg:top-20">
          <Card>
            <CardHeader title="Estimate" />
            <CardBody className="grid gap-5">
              <EstimatePanel
                estimate={estimate.data}
                error={estimate.error}
                stale={estimate.isPlaceholderData}
                values={values}
                relax={(field) => set(field, empty[field] as never)}
                onTopUp={setMissing}
              />
              <FormError error={failure} title={failure?.status === 402 ? 'Not enough credit' : undefined} until={until} />
              {failure?.status === 402 && (
                <Button variant="secondary" onClick={() => setMissing(0)}>
                  Add credit
                </Button>
              )}
              {sending && <Progress {...sending} />}
              <Button type="submit" size="large" busy={busy} disabled={waiting}>
                {earlier ? 'Run again' : 'Submit job'}
              </Button>
            </CardBody>
          </Card>
        </aside>
      </form>
      <TopUpDialog open={missing !== undefined} onOpenChange={(open) => !open && setMissing(undefined)} missing={missing ?? 0} />
    </>
  )
}

/** A job that is run again has the source of the earlier one. */
function withoutSource(body: Schemas['JobRequest']): Schemas['JobRerun'] {
  const copy = { ...body }
  delete copy.source
  return copy
}

function SourceChoice({ value, onChange }: { value: Values['source']; onChange: (v: Values['source']) => void }) {
  return (
    <fieldset>
      <legend className="mb-1.5 text-sm font-medium">Code</legend>
      <div className="grid gap-2 sm:grid-cols-2">
        {(
          [
            ['bundle', 'A ZIP', 'Your folder, unpacked on the host'],
            ['image', 'A container image', 'From a public registry'],
          ] as const
        ).map(([kind, title, text]) => (
          <label
            key={kind}
            htmlFor={`source-${kind}`}
            className={cn(
              'grid grid-cols-[auto_1fr] items-start gap-x-2.5 rounded-lg border p-3 text-sm has-focus-visible:outline-2 has-focus-visible:outline-offset-2 has-focus-visible:outline-accent-text',
              value === kind ? 'border-accent-text bg-accent-soft/50' : 'border-line hover:bg-hover',
            )}
          >
            <input id={`source-${kind}`} type="radio" name="source" className="mt-0.5 size-4 accent-accent outline-none" checked={value === kind} onChange={() => onChange(kind)} />
            <span className="font-medium">{title}</span>
            <small className="col-start-2 text-[13px] text-muted">{text}</small>
          </label>
        ))}
      </div>
    </fieldset>
  )
}

function Progress({ sent, total, abort }: { sent: number; total: number; abort: AbortController }) {
  const share = total > 0 ? Math.min(1, sent / total) : 0
  return (
    <div className="grid gap-1.5 text-[13px]">
      <div className="flex items-baseline justify-between gap-3">
        <span>{share < 1 ? `Uploading, ${bytes(sent)} of ${bytes(total)}` : 'Uploaded. The server checks it…'}</span>
        {share < 1 && (
          <Button variant="link" size="inline" onClick={() => abort.abort()}>
            Cancel
          </Button>
        )}
      </div>
      <progress aria-label="Upload" value={share} max={1} className="h-1.5 w-full overflow-hidden rounded-full accent-accent" />
    </div>
  )
}
