import { Link } from '@tanstack/react-router'
import { Settings2, Trash2 } from 'lucide-react'
import { useState } from 'react'
import type { Schemas } from '@/api/client'
import { Badge } from '@/components/ui/badge'
import { Button } from '@/components/ui/button'
import { Card } from '@/components/ui/card'
import { Checkbox } from '@/components/ui/checkbox'
import { Ago } from '@/components/ui/time'
import { counted, mebibytes } from '@/lib/format'
import { shortModel } from '../market/offer-table'
import { EditDialog } from './edit-dialog'
import { GPULoad } from './gpu-load'
import { PriceField } from './price-field'
import { RecentJobs } from './recent-jobs'
import { RemoveDialog } from './remove-dialog'
import { useLoad } from './use-load'
import { useOffer } from './use-offer'

type Host = Schemas['Host']

/** A machine of the account: how it stands, what its GPUs do, and for what price. */
export function MachineCard({ host, feeBps }: { host: Host; feeBps: number | undefined }) {
  const load = useLoad(host.id)
  const offer = useOffer(host)
  const [editing, setEditing] = useState(false)
  const [removing, setRemoving] = useState(false)
  const m = host.machine
  return (
    <Card className="overflow-hidden" aria-labelledby={`name-${host.id}`}>
      <div className="flex items-start justify-between gap-3 px-4 py-3.5 sm:px-5">
        <div className="min-w-0">
          <h2 id={`name-${host.id}`} className="flex flex-wrap items-center gap-2.5 text-[15px] font-semibold">
            <Link to="/hosts/$id" params={{ id: host.id }} className="underline-offset-4 hover:underline">
              {host.name}
            </Link>
            <Status host={host} />
          </h2>
          <p className="mt-0.5 text-[13px] text-muted">
            {[host.region, counted(m.cpus, 'CPU'), `${mebibytes(m.memory_mb)} RAM`, `isolation ${m.isolation}`, m.owner_only ? 'your own jobs alone' : undefined, `agent ${m.agent_version}`, ...host.tags]
              .filter(Boolean)
              .join(', ')}
          </p>
        </div>
        <div className="-mr-2 flex shrink-0 gap-1">
          <Button variant="quiet" size="icon" onClick={() => setEditing(true)}>
            <Settings2 aria-hidden />
            <span className="sr-only">Name, region and tags of {host.name}</span>
          </Button>
          <Button variant="quiet" size="icon" onClick={() => setRemoving(true)}>
            <Trash2 aria-hidden />
            <span className="sr-only">Remove {host.name}</span>
          </Button>
        </div>
      </div>
      <ul className="divide-y divide-line border-t border-line">
        {host.devices.map((d, i) => {
          const label = `GPU ${i + 1} of ${host.name}`
          return (
            <li key={d.id} className="grid grid-cols-[minmax(0,1fr)_auto] items-center gap-x-5 gap-y-2 px-4 py-3 sm:px-5 lg:grid-cols-[minmax(0,13rem)_minmax(0,1fr)_auto_auto]">
              <div className="min-w-0 max-lg:col-span-2">
                <span className="block truncate text-sm font-medium">{shortModel(d.model)}</span>
                <DeviceStatus device={d} />
              </div>
              <div className="flex min-h-10 items-center text-[13px] text-muted max-lg:col-span-2 lg:min-h-6">
                {host.online ? <GPULoad samples={load[d.id] ?? []} vram={d.vram_mb} /> : 'no load while it is offline'}
              </div>
              <PriceField
                label={label}
                micros={d.price_micros}
                currency={host.currency}
                feeBps={feeBps}
                onSave={(micros) => void offer({ price_micros: micros }, `The price of ${label} is changed. Jobs that run keep theirs.`, d.id)}
              />
              <label htmlFor={`listed-${d.id}`} className="flex items-center gap-2 text-[13px]">
                <Checkbox
                  id={`listed-${d.id}`}
                  checked={d.listed}
                  onChange={(e) => void offer({ listed: e.target.checked }, e.target.checked ? `${label} is on the market.` : `${label} is off the market. What runs goes on.`, d.id)}
                />
                Listed
              </label>
            </li>
          )
        })}
        {host.devices.length === 0 && <li className="px-4 py-3 text-sm text-muted sm:px-5">It has reported no GPU. Run peergpu-agent doctor on it.</li>}
      </ul>
      <RecentJobs host={host} />
      <EditDialog host={host} open={editing} onOpenChange={setEditing} />
      <RemoveDialog host={host} open={removing} onOpenChange={setRemoving} />
    </Card>
  )
}

function Status({ host }: { host: Host }) {
  if (host.standing === 'suspended') return <Badge tone="bad">suspended</Badge>
  if (host.online) return <Badge tone="good">online</Badge>
  if (host.standing === 'pending') return <Badge>never connected</Badge>
  return (
    <Badge tone="warning">
      offline{host.seen_at && <> since <Ago time={host.seen_at} /></>}
    </Badge>
  )
}

function DeviceStatus({ device: d }: { device: Schemas['Device'] }) {
  if (!d.present) return <span className="text-[13px] text-danger-text">not in the machine any more</span>
  if (d.status === 'busy') return <span className="text-[13px] text-info-text">runs a job</span>
  return <span className="text-[13px] text-muted">{d.status === 'available' ? 'free' : d.status}</span>
}
