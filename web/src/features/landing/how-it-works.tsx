import { Link } from '@tanstack/react-router'
import type { ReactNode } from 'react'
import { Button } from '@/components/ui/button'
import { Code } from '@/components/ui/code'

const submit = `curl $URL/api/jobs -H "Authorization: Bearer $TOKEN" \\
  -F 'job=@job.json;type=application/json' \\
  -F 'bundle=@code.zip;type=application/zip'`

const host = `peergpu-agent enroll --server $URL --price-micros 350000
peergpu-agent doctor
peergpu-agent run`

/** The way of a renter and the way of a host. */
export const HowItWorks = () => (
  <section className="container-page grid gap-12 py-14 sm:py-20 lg:grid-cols-2 lg:gap-16">
    <Way
      title="Run a job"
      steps={[
        ['Pack it.', 'A ZIP with your code, or an image, and the command that starts it. Say what it needs and the most that it may cost.'],
        ['Watch it.', 'The log arrives as it is written. Close the laptop: it goes on from the same byte when you are back.'],
        ['Take the results.', 'Files that the job leaves are checked, kept and yours to download. What it did not use is back on your account.'],
      ]}
      code={submit}
      language="A job from a shell"
    >
      <Link to="/jobs/new">Submit a job</Link>
    </Way>
    <Way
      title="Rent out your machine"
      steps={[
        ['Install one file.', 'The agent dials out. No port is opened, no router is touched.'],
        ['Set your terms.', 'A price by the hour, whose jobs you take, how long they may run. The server can only be stricter than you.'],
        ['Get paid by job.', 'Each settlement is in the ledger the moment the job has ended, with the fee beside it.'],
      ]}
      code={host}
      language="A host in three lines"
    >
      <Link to="/host">Add your machine</Link>
    </Way>
  </section>
)

function Way({ title, steps, code, language, children }: { title: string; steps: [string, string][]; code: string; language: string; children: ReactNode }) {
  return (
    <div className="min-w-0">
      <h2 className="text-xl font-semibold">{title}</h2>
      <ol className="mt-5 grid gap-4">
        {steps.map(([head, text], i) => (
          <li key={head} className="grid grid-cols-[1.75rem_1fr]">
            <span aria-hidden className="num text-sm leading-6 font-medium text-accent-text">
              {i + 1}
            </span>
            <p className="text-muted">
              <strong className="font-medium text-text">{head}</strong> {text}
            </p>
          </li>
        ))}
      </ol>
      <Code className="mt-6" title={language} text={code} label={language} copy="Copy the commands" />
      <Button asChild variant="secondary" className="mt-4">
        {children}
      </Button>
    </div>
  )
}
