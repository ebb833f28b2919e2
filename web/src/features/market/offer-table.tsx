import { Link } from '@tanstack/react-router'
import { BadgeCheck } from 'lucide-react'
import type { Schemas } from '@/api/client'
import { Badge } from '@/components/ui/badge'
import { Button } from '@/components/ui/button'
import { Money } from '@/components/ui/money'
import { Table, Td, Th } from '@/components/ui/table'
import { count, counted, mebibytes, percent } from '@/lib/format'

type Offer = Schemas['Offer']

/** A GPU's model without its maker, which is always the same. */
export const shortModel = (model: string): string => model.replace(/^NVIDIA (GeForce )?/, '')

/** How jobs are kept apart, and whose are taken where they are not. */
const isolated = (offer: Offer): string => (offer.owner_only ? 'jobs of its owner alone' : `isolation ${offer.isolation}`)

/** Offers as a table, or as cards where there is no room for one. */
export function OfferTable({ offers }: { offers: Offer[] }) {
  return (
    <>
      <ul className="divide-y divide-line md:hidden">
        {offers.map((o) => (
          <li key={keyOf(o)} className="grid grid-cols-[minmax(0,1fr)] gap-2 px-4 py-3.5">
            <div className="flex items-baseline justify-between gap-3">
              <span className="font-medium">
                {shortModel(o.gpu_model)} <span className="text-[13px] font-normal text-muted">{mebibytes(o.vram_mb)}</span>
              </span>
              <span className="text-[15px] font-semibold">
                <Money micros={o.price_micros} currency={o.currency} />
                <span className="text-[13px] font-normal text-muted">/h</span>
              </span>
            </div>
            <div className="flex items-center justify-between gap-3 text-[13px] text-muted">
              <span className="min-w-0 truncate">
                <HostLink offer={o} />
                {o.region && `, ${o.region}`}, {o.gpus_free} of {o.gpus} free, {percent(o.uptime)} online{o.owner_only && `, ${isolated(o)}`}
              </span>
              <Rent offer={o} />
            </div>
          </li>
        ))}
      </ul>
      <Table aria-label="Offers" className="max-md:hidden">
        <thead>
          <tr>
            <Th>GPU</Th>
            <Th>Host</Th>
            <Th className="text-right">Free</Th>
            <Th className="text-right">FP16</Th>
            <Th className="text-right">Online</Th>
            <Th className="text-right">Reliable</Th>
            <Th className="text-right">Per hour</Th>
            <Th>
              <span className="sr-only">Rent</span>
            </Th>
          </tr>
        </thead>
        <tbody>
          {offers.map((o) => (
            <tr key={keyOf(o)} className="hover:bg-sunken">
              <Td>
                <span className="block font-medium whitespace-nowrap">{shortModel(o.gpu_model)}</span>
                <span className="num text-[13px] text-muted">
                  {mebibytes(o.vram_mb)}, {counted(o.cpus_per_gpu, 'CPU')}, {mebibytes(o.memory_mb_per_gpu)} RAM
                </span>
              </Td>
              <Td className="max-w-44">
                <span className="flex items-center gap-1">
                  <HostLink offer={o} />
                  {o.verified && (
                    <>
                      <BadgeCheck className="size-3.5 shrink-0 text-accent-text" aria-hidden />
                      <span className="sr-only">verified</span>
                    </>
                  )}
                </span>
                <span className="line-clamp-2 text-[13px] text-muted">{[o.region, isolated(o), ...o.tags].filter(Boolean).join(', ')}</span>
              </Td>
              <Td className="num text-right whitespace-nowrap">
                {o.gpus_free} <span className="text-muted">of {o.gpus}</span>
              </Td>
              <Td className="num text-right whitespace-nowrap">
                {o.performance ? (
                  <>
                    {count(Math.round(o.performance.tflops))} <span className="text-[13px] text-muted">TFLOPS</span>
                    <span className="block text-xs text-muted">{o.performance.source === 'measured' ? 'measured' : 'data sheet'}</span>
                  </>
                ) : (
                  <span className="text-muted">–</span>
                )}
              </Td>
              <Td className="num text-right whitespace-nowrap">{percent(o.uptime)}</Td>
              <Td className="num text-right whitespace-nowrap">{percent(o.reliability)}</Td>
              <Td className="text-right font-semibold">
                <Money micros={o.price_micros} currency={o.currency} />
              </Td>
              <Td className="text-right">
                <Rent offer={o} />
              </Td>
            </tr>
          ))}
        </tbody>
      </Table>
    </>
  )
}

const keyOf = (o: Offer) => `${o.host.id}/${o.gpu_model}/${o.price_micros}`

const HostLink = ({ offer }: { offer: Offer }) => (
  <Link to="/hosts/$id" params={{ id: offer.host.id }} className="truncate underline-offset-4 hover:underline">
    {offer.host.name}
  </Link>
)

/** Leads to a job on this offer; one that cannot be rented says so. */
const Rent = ({ offer }: { offer: Offer }) =>
  offer.owner_only ? (
    <Badge>not for rent</Badge>
  ) : offer.gpus_free > 0 ? (
    <Button asChild variant="secondary" size="small">
      <Link to="/jobs/new" search={{ model: offer.gpu_model, host: offer.host.id }}>
        Rent<span className="sr-only"> {shortModel(offer.gpu_model)} of {offer.host.name}</span>
      </Link>
    </Button>
  ) : (
    <Badge>busy</Badge>
  )
