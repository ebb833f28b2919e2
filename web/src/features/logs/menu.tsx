import { Check } from 'lucide-react'
import { DropdownMenu as Radix } from 'radix-ui'
import { useState, type ReactElement, type ReactNode } from 'react'

const item =
  'flex min-h-8 items-center gap-2 rounded-control px-2 text-sm text-text outline-none data-[disabled]:opacity-55 data-[highlighted]:bg-hover [&_svg]:size-4'

/** A menu of the viewer. It opens within the viewer, so that it is seen on a full screen
 * too. */
export function Menu({ trigger, children }: { trigger: ReactElement; children: ReactNode }) {
  const [home, setHome] = useState<HTMLElement | null>(null)
  return (
    <Radix.Root modal={false}>
      <Radix.Trigger asChild ref={(e: HTMLElement | null) => setHome(e?.closest<HTMLElement>('[data-log-viewer]') ?? null)}>
        {trigger}
      </Radix.Trigger>
      <Radix.Portal container={home}>
        <Radix.Content
          align="end"
          sideOffset={6}
          collisionPadding={8}
          className="z-50 min-w-56 animate-appear rounded-lg border border-line bg-surface p-1 text-text shadow-float"
        >
          {children}
        </Radix.Content>
      </Radix.Portal>
    </Radix.Root>
  )
}

/** A line of a menu that does something. */
export const MenuItem = ({ onSelect, disabled, children }: { onSelect: () => void; disabled?: boolean; children: ReactNode }) => (
  <Radix.Item className={item} disabled={disabled ?? false} onSelect={onSelect}>
    {children}
  </Radix.Item>
)

/** One of several values. */
export function MenuChoice<T extends string>({
  label,
  value,
  options,
  onChange,
}: {
  label: string
  value: T
  options: readonly { value: T; label: string }[]
  onChange: (value: T) => void
}) {
  return (
    <Radix.RadioGroup value={value} onValueChange={(v) => onChange(v as T)}>
      <Radix.Label className="px-2 py-1.5 text-[13px] text-muted">{label}</Radix.Label>
      {options.map((o) => (
        <Radix.RadioItem key={o.value} value={o.value} className={item}>
          <span className="grid size-4 place-items-center">
            <Radix.ItemIndicator>
              <Check className="text-accent-text" aria-hidden />
            </Radix.ItemIndicator>
          </span>
          {o.label}
        </Radix.RadioItem>
      ))}
    </Radix.RadioGroup>
  )
}
