import { useQueryClient } from '@tanstack/react-query'
import { CircleCheck, LoaderCircle } from 'lucide-react'
import { useEffect, useRef, useState } from 'react'
import { query, type Schemas } from '@/api/client'
import { Button } from '@/components/ui/button'
import { Code } from '@/components/ui/code'
import { Dialog, DialogContent, DialogFooter } from '@/components/ui/dialog'
import { ErrorCard } from '@/components/ui/error-card'
import { Skeleton } from '@/components/ui/skeleton'
import { useNow } from '@/lib/clock'
import { countdown } from '@/lib/format'
import { news, type News } from '@/live/me'
import { shortModel } from '../market/offer-table'
import { PriceField } from './price-field'
import { useOffer } from './use-offer'

/** Adds a machine: shows what to run on it, and turns into the machine when it comes. */
export function EnrolDialog({ open, onOpenChange, feeBps }: { open: boolean; onOpenChange: (open: boolean) => void; feeBps: number | undefined }) {
  return (
    <Dialog open={open} onOpenChange={onOpenChange}>
      <DialogContent title="Add a machine" description="Run these on the machine that has the GPUs. Its key never leaves it." className="max-w-2xl">
        <Enrol feeBps={feeBps} done={() => onOpenChange(false)} />
      </DialogContent>
    </Dialog>
  )
}

/** The commands with a fresh token, and who came with it. */
export function Enrol({ feeBps, done }: { feeBps: number | undefined; done: () => void }) {
  const token = query.useMutation('post', '/api/hosts/enrollment-tokens')
  const asked = useRef(false)
  const { mutate } = token
  useEffect(() => {
    // Once: a token that nobody sees is a token too many.
    if (asked.current) return
    asked.current = true
    mutate({})
  }, [mutate])
  const came = useNewcomer()
  if (came) return <Arrived host={came} feeBps={feeBps} done={done} />
  if (token.error) return <ErrorCard error={token.error} title="There is no token" retry={() => mutate({})} />
  return (
    <div className="mt-4 grid grid-cols-[minmax(0,1fr)] gap-4">
      {token.data ? <Commands key={token.data.token} token={token.data} renew={() => mutate({})} /> : <Skeleton className="h-32 w-full" />}
      <output className="flex items-center gap-2.5 rounded-lg bg-sunken p-3 text-sm">
        <LoaderCircle className="size-4 shrink-0 animate-spin text-muted [animation-duration:2s]" aria-hidden />
        Waiting for your machine…
      </output>
    </div>
  )
}

function Commands({ token, renew }: { token: Schemas['EnrollmentToken']; renew: () => void }) {
  const [came] = useState(() => Date.now())
  const left = Math.min(token.expires_in_s, token.expires_in_s - (useNow() - came) / 1000) // seconds; that clock shows whole ones
  const lines = [
    `export PEERGPU_ENROLLMENT_TOKEN=${token.token}`,
    `peergpu-agent enroll --server ${location.origin}`,
    'peergpu-agent doctor',
    'peergpu-agent run',
  ]
  if (left <= 0) {
    return (
      <div className="grid justify-items-start gap-2 text-sm">
        <p>The token has expired.</p>
        <Button variant="secondary" size="small" onClick={renew}>
          Get another one
        </Button>
      </div>
    )
  }
  return (
    <div className="grid grid-cols-[minmax(0,1fr)] gap-2">
      <Code title="On the machine" text={lines.join('\n')} label="Commands for the machine" copy="Copy the commands" />
      <p className="text-[13px] text-muted">
        The token is good once, for <span className="num">{countdown(left)}</span> more. <code className="font-mono">peergpu-agent</code> is one file: copy it there first.
      </p>
    </div>
  )
}

/** The host that connected for the first time since this was shown. */
function useNewcomer(): Schemas['Host'] | undefined {
  const client = useQueryClient()
  const [host, setHost] = useState<Schemas['Host']>()
  const since = useRef(0)
  useEffect(() => {
    since.current = Date.now()
    const known = new Set(
      client.getQueriesData<Schemas['HostList']>({ queryKey: ['get', '/api/hosts'] }).flatMap(([, list]) => list?.items?.filter((h) => h.standing !== 'pending').map((h) => h.id) ?? []),
    )
    const onHost = (e: Event) => {
      const { host: h } = (e as News<'host'>).frame
      if (!known.has(h.id) && h.online) setHost(h)
    }
    news.addEventListener('host', onHost)
    return () => news.removeEventListener('host', onHost)
  }, [client])
  return host
}

function Arrived({ host, feeBps, done }: { host: Schemas['Host']; feeBps: number | undefined; done: () => void }) {
  const offer = useOffer(host)
  const [price, setPrice] = useState(host.devices[0]?.price_micros ?? 0)
  const [listed, setListed] = useState(host.devices.some((d) => d.listed))
  const save = (micros: number) => {
    setPrice(micros)
    setListed(true)
    void offer({ price_micros: micros, listed: true }, `${host.name} is on the market.`)
  }
  return (
    <div className="mt-4 grid grid-cols-[minmax(0,1fr)] gap-4">
      <output className="flex items-start gap-2.5 rounded-lg bg-accent-soft p-3 text-sm text-accent-text">
        <CircleCheck className="mt-0.5 size-4 shrink-0" aria-hidden />
        <span>
          <b className="font-semibold">{host.name} is connected</b>
          {host.devices.length > 0 && `, with ${host.devices.map((d) => shortModel(d.model)).join(', ')}`}.
        </span>
      </output>
      {host.devices.length > 0 && (
        <div className="text-sm">
          <p className="mb-1 text-muted">{listed ? 'It is on the market for, per GPU and hour:' : 'Set a price per GPU and hour, and it is on the market:'}</p>
          <PriceField label={host.name} micros={price} currency={host.currency} feeBps={feeBps} onSave={save} />
        </div>
      )}
      <DialogFooter>
        <Button onClick={done}>Done</Button>
      </DialogFooter>
    </div>
  )
}
