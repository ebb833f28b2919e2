import { Pencil } from 'lucide-react'
import { Popover } from 'radix-ui'
import { useRef, useState, type FormEvent } from 'react'
import { Button } from '@/components/ui/button'
import { Field } from '@/components/ui/field'
import { Input } from '@/components/ui/input'
import { money } from '@/lib/format'
import { net, priceOf, priceText } from './money'

/** A price, and beside it what changes it, for which nothing around it makes room. Escape
 * leaves it as it was. */
export function PriceField({
  label,
  micros,
  currency,
  feeBps,
  onSave,
}: {
  label: string
  micros: number
  currency: string
  /** The platform's share in hundredths of a percent, once it is known. */
  feeBps: number | undefined
  onSave: (micros: number) => void
}) {
  const [text, setText] = useState<string>()
  const [wrong, setWrong] = useState(false)
  const input = useRef<HTMLInputElement>(null)
  const price = priceOf(text ?? '')
  const open = (opened: boolean) => {
    setText(opened ? priceText(micros) : undefined)
    setWrong(false)
  }
  const submit = (e: FormEvent) => {
    e.preventDefault()
    // A form may stand around this one, in the tree of components if not in the page.
    e.stopPropagation()
    if (price === undefined) {
      setWrong(true)
      return
    }
    if (price !== micros) onSave(price)
    open(false)
  }
  return (
    <Popover.Root open={text !== undefined} onOpenChange={open}>
      <Popover.Trigger asChild>
        <Button variant="quiet" size="small" className="num -mx-2 justify-self-start font-medium text-text">
          <span>
            {money(micros, currency)}
            <span className="font-normal text-muted">/h</span>
          </span>
          <Pencil className="size-3.5 text-muted" aria-hidden />
          <span className="sr-only">change the price of {label}</span>
        </Button>
      </Popover.Trigger>
      <Popover.Portal>
        <Popover.Content
          aria-label="New price"
          align="start"
          sideOffset={6}
          collisionPadding={12}
          className="z-50 w-64 animate-appear rounded-lg border border-line bg-surface p-3 shadow-float"
          onOpenAutoFocus={(e) => {
            e.preventDefault()
            input.current?.select()
          }}
        >
          <form noValidate onSubmit={submit} className="grid gap-3">
            <Field
              label={
                <>
                  Price<span className="sr-only"> of {label}</span> in {currency} an hour
                </>
              }
              hint={price === undefined || feeBps === undefined ? undefined : `You get ${money(net(price, feeBps), currency)} an hour.`}
              error={wrong ? 'Enter a price, such as 0.35.' : undefined}
            >
              <Input
                ref={input}
                inputMode="decimal"
                value={text ?? ''}
                onChange={(e) => {
                  setText(e.target.value)
                  setWrong(false)
                }}
              />
            </Field>
            <div className="flex justify-end gap-2">
              <Popover.Close asChild>
                <Button variant="secondary" size="small">
                  Cancel
                </Button>
              </Popover.Close>
              <Button type="submit" size="small">
                Save
              </Button>
            </div>
          </form>
        </Popover.Content>
      </Popover.Portal>
    </Popover.Root>
  )
}
