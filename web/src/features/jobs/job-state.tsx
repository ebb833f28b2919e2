import { CircleCheck, CircleDashed, CircleSlash, CircleX, Hourglass, LoaderCircle } from 'lucide-react'
import type { Schemas } from '@/api/client'
import { Badge } from '@/components/ui/badge'

type Job = Pick<Schemas['Job'], 'state' | 'phase'>

const looks = {
  pending: { tone: 'neutral', icon: CircleDashed },
  queued: { tone: 'warning', icon: Hourglass },
  assigned: { tone: 'info', icon: LoaderCircle },
  running: { tone: 'info', icon: LoaderCircle },
  cancelling: { tone: 'warning', icon: LoaderCircle },
  succeeded: { tone: 'good', icon: CircleCheck },
  failed: { tone: 'bad', icon: CircleX },
  cancelled: { tone: 'neutral', icon: CircleSlash },
} as const

/** How a job stands, in one word: its state, or within it what goes on. */
export function stateWord({ state, phase }: Job): string {
  if ((state === 'assigned' || state === 'running') && phase?.name) return phase.name
  return state === 'pending' ? 'waiting for its ZIP' : state
}

/** How a job stands. */
export function JobState({ job }: { job: Job }) {
  const { tone, icon: Icon } = looks[job.state]
  const turns = Icon === LoaderCircle
  return (
    <Badge tone={tone}>
      <Icon aria-hidden className={turns ? 'animate-spin [animation-duration:2s]' : undefined} />
      {stateWord(job)}
    </Badge>
  )
}
