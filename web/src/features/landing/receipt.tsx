import { exactMoney } from '@/lib/format'

const price = 350_000 // an hour
const ran = 72_402 // ms
const hold = 100_000
const cost = Math.floor((price * ran) / 3_600_000)
const fee = Math.floor(cost / 10)
const usd = (micros: number) => exactMoney(micros, 'USD')

/** What a job costs, as its statement tells it: the same to both sides. */
export function Receipt() {
  return (
    <figure className="mx-auto max-w-md">
      <div className="relative rounded-card border border-line bg-surface p-5 shadow-float sm:p-6">
        <div className="flex items-start justify-between gap-4">
          <div>
            <p className="font-semibold">digits</p>
            <p className="text-[13px] text-muted">python3 train.py --epochs 40</p>
          </div>
          <span className="rounded-full bg-accent-soft px-2 py-0.5 text-xs font-medium text-accent-text">succeeded</span>
        </div>
        <dl className="num mt-5 grid gap-2 text-sm">
          <Line label="1 × RTX 4090">{usd(price).replace(/0+$/, '')} / h</Line>
          <Line label="Ran">{(ran / 1000).toFixed(3)} s</Line>
          <Line label="Held before the start">{usd(hold)}</Line>
          <div className="my-1 border-t border-dashed border-line-strong/50" />
          <Line label="Cost" strong>
            {usd(cost)}
          </Line>
          <Line label="Host gets" nested>
            {usd(cost - fee)}
          </Line>
          <Line label="Platform, 10 %" nested>
            {usd(fee)}
          </Line>
          <Line label="Given back at once">{usd(hold - cost)}</Line>
        </dl>
      </div>
      <figcaption className="mt-3 text-center text-[13px] text-muted">An example. Renter and host read the same statement.</figcaption>
    </figure>
  )
}

const Line = ({ label, children, strong, nested }: { label: string; children: React.ReactNode; strong?: boolean; nested?: boolean }) => (
  <div className={`flex items-baseline justify-between gap-4 ${nested ? 'pl-4' : ''}`}>
    <dt className={strong ? 'font-medium' : 'text-muted'}>{label}</dt>
    <dd className={strong ? 'text-base font-semibold' : ''}>{children}</dd>
  </div>
)
