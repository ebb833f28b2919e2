import { FileSignature, HandCoins, Layers, ScrollText, ShieldCheck, Timer } from 'lucide-react'

const facts = [
  [HandCoins, 'Never more than you said', 'The most that a job may cost is set aside before it starts. It cannot cost more, and the rest returns when it ends.'],
  [ScrollText, 'One book for both sides', 'Every amount is in a ledger of double entries that sums to zero, to the millionth, and both sides read the same lines.'],
  [FileSignature, 'Machines obey signatures', 'What a host runs is signed for that host, once, for now. Its owner’s policy can still refuse it.'],
  [ShieldCheck, 'Walls around strangers’ code', 'Jobs run without network, privileges or a view of the host. Hosts see what you send them: send what you would show.'],
  [Timer, 'Lost hosts are our problem', 'When a machine falls silent the job moves to another, and the time that was lost is not billed.'],
  [Layers, 'Yours to run', 'One program with everything in it. Start it on a laptop, move it to Postgres when it grows.'],
] as const

/** What one can rely on. */
export const Facts = () => (
  <section aria-labelledby="facts" className="container-page pb-16 sm:pb-24">
    <h2 id="facts" className="text-xl font-semibold">
      What you can rely on
    </h2>
    <ul className="mt-6 grid gap-x-10 gap-y-8 sm:grid-cols-2 lg:grid-cols-3">
      {facts.map(([Icon, title, text]) => (
        <li key={title}>
          <Icon className="size-5 text-accent-text" aria-hidden />
          <h3 className="mt-2.5 font-medium">{title}</h3>
          <p className="mt-1 text-[15px] text-muted">{text}</p>
        </li>
      ))}
    </ul>
  </section>
)
