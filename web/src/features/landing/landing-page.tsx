import { Link } from '@tanstack/react-router'
import { Title } from '@/app/page'
import { Button } from '@/components/ui/button'
import { Facts } from './facts'
import { HowItWorks } from './how-it-works'
import { MarketNow } from './market-now'
import { Receipt } from './receipt'

/** The start page. It is whole without an answer of the server. */
export function LandingPage() {
  return (
    <>
      <Title>PeerGPU</Title>
      <section className="container-page grid items-center gap-12 py-12 sm:py-20 lg:grid-cols-[minmax(0,1.15fr)_minmax(0,1fr)] lg:gap-16">
        <div>
          <h1 className="max-w-[15ch] text-[2.5rem] leading-[1.08] font-semibold tracking-[-0.03em] sm:text-[3.5rem]">
            GPU time, paid by the millisecond
          </h1>
          <p className="mt-5 max-w-[34rem] text-lg text-muted">
            Send a ZIP and a command. The cheapest machine that fits takes the job, you watch its log as it runs, and the bill is the time
            between start and exit. Machines of your own earn when you are not using them.
          </p>
          <div className="mt-8 flex flex-wrap gap-3">
            <Button asChild size="large">
              <Link to="/jobs/new">Run a job</Link>
            </Button>
            <Button asChild size="large" variant="secondary">
              <Link to="/gpus">Browse GPUs</Link>
            </Button>
          </div>
        </div>
        <Receipt />
      </section>
      <MarketNow />
      <HowItWorks />
      <Facts />
    </>
  )
}
