import { useQueryClient } from '@tanstack/react-query'
import { useState, type FormEvent } from 'react'
import { query, type Schemas } from '@/api/client'
import { asApiError } from '@/api/problem'
import { Button } from '@/components/ui/button'
import { Dialog, DialogClose, DialogContent, DialogFooter } from '@/components/ui/dialog'
import { Field } from '@/components/ui/field'
import { ErrorCard } from '@/components/ui/error-card'
import { Input } from '@/components/ui/input'
import { Skeleton } from '@/components/ui/skeleton'
import { decimal, noNumber } from '@/lib/decimal'
import { money } from '@/lib/format'
import { sentence } from '@/lib/sentence'

const usual = [1, 2.5, 10] // times the least
const cent = 10_000 // millionths
const whole = 1_000_000

/** Buys credit. What was missing is the amount that it begins with. */
export function TopUpDialog({ open, onOpenChange, missing = 0 }: { open: boolean; onOpenChange: (open: boolean) => void; missing?: number }) {
  const account = query.useQuery('get', '/api/billing/account', undefined, { enabled: open })
  return (
    <Dialog open={open} onOpenChange={onOpenChange}>
      <DialogContent title="Add credit" description="Prepaid credit pays for jobs. This installation uses play money: nobody is charged.">
        {account.data ? (
          <TopUpForm missing={missing} account={account.data} done={() => onOpenChange(false)} />
        ) : account.error ? (
          <ErrorCard error={account.error} title="Your account could not be read" retry={() => void account.refetch()} />
        ) : (
          <Skeleton className="mt-4 h-52 w-full" />
        )}
      </DialogContent>
    </Dialog>
  )
}

function TopUpForm({ missing, account, done }: { missing: number; account: Schemas['BillingAccount']; done: () => void }) {
  const { currency, min_top_up_micros: least, max_top_up_micros: most } = account
  const client = useQueryClient()
  const [amount, setAmount] = useState(() => String(Math.ceil(Math.min(most, Math.max(2.5 * least, missing)) / whole)))
  // One key for one intent: pressing twice buys once.
  const [key, setKey] = useState(() => crypto.randomUUID())
  const [wrong, setWrong] = useState<string>()
  const buy = query.useMutation('post', '/api/billing/top-ups', {
    onSuccess: async () => {
      await Promise.all(['/api/billing/account', '/api/jobs/estimate'].map((path) => client.invalidateQueries({ predicate: (q) => q.queryKey[1] === path })))
      done()
    },
    onError: (e) => {
      const error = asApiError(e)
      setWrong(sentence(error.fields[0]?.detail ?? error.message))
      if (error.status !== 0) setKey(crypto.randomUUID())
    },
  })
  const submit = (e: FormEvent) => {
    e.preventDefault()
    // A form may stand around the dialog, in the tree of components if not in the page.
    e.stopPropagation()
    if (/\.\d{3,}$/.test(decimal(amount))) return setWrong('Enter an amount with two decimals at most.')
    const micros = Math.round(Number(decimal(amount)) * 100) * cent
    if (!(micros >= least && micros <= most)) {
      setWrong(noNumber(decimal(amount), `Enter an amount from ${money(least, currency)} to ${money(most, currency)}.`))
      return
    }
    setWrong(undefined)
    buy.mutate({ body: { amount_micros: micros }, params: { header: { 'Idempotency-Key': key } } })
  }
  return (
    <form className="mt-4 grid gap-4" noValidate onSubmit={submit}>
      <Field label={`Amount in ${currency}`} hint={wrong ? undefined : `From ${money(least, currency)} to ${money(most, currency)}.`} error={wrong}>
        <Input inputMode="decimal" value={amount} onChange={(e) => setAmount(e.target.value)} />
      </Field>
      <div className="flex gap-2">
        {usual
          .map((n) => n * least)
          .filter((micros) => micros <= most)
          .map((micros) => (
            <Button key={micros} variant="secondary" size="small" onClick={() => setAmount(String(micros / whole))}>
              {money(micros, currency)}
            </Button>
          ))}
      </div>
      <DialogFooter>
        <DialogClose asChild>
          <Button variant="secondary">Cancel</Button>
        </DialogClose>
        <Button type="submit" busy={buy.isPending}>
          Add credit
        </Button>
      </DialogFooter>
    </form>
  )
}
