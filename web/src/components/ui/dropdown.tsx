import { DropdownMenu as Radix } from 'radix-ui'
import type { ComponentProps } from 'react'
import { cn } from '@/lib/cn'

/** A menu. The rest of the page stays reachable while it is open: a menu is closed by
 * leaving it. */
export const Dropdown = (props: ComponentProps<typeof Radix.Root>) => <Radix.Root modal={false} {...props} />
export const DropdownTrigger = Radix.Trigger

/** The menu itself. */
export const DropdownContent = ({ className, ...props }: ComponentProps<typeof Radix.Content>) => (
  <Radix.Portal>
    <Radix.Content
      align="end"
      sideOffset={6}
      className={cn('z-50 min-w-52 animate-appear rounded-lg border border-line bg-surface p-1 shadow-float', className)}
      {...props}
    />
  </Radix.Portal>
)

/** A line of the menu that does something; with asChild, a link. */
export const DropdownItem = ({ className, danger, ...props }: ComponentProps<typeof Radix.Item> & { danger?: boolean }) => (
  <Radix.Item
    className={cn(
      'flex min-h-8 items-center gap-2 rounded-control px-2 text-sm outline-none data-[disabled]:opacity-55 data-[highlighted]:bg-hover [&_svg]:size-4 [&_svg]:text-muted',
      danger && 'text-danger-text [&_svg]:text-danger-text',
      className,
    )}
    {...props}
  />
)

/** A heading in the menu. */
export const DropdownLabel = ({ className, ...props }: ComponentProps<typeof Radix.Label>) => (
  <Radix.Label className={cn('px-2 py-1.5 text-[13px] text-muted', className)} {...props} />
)

export const DropdownSeparator = () => <Radix.Separator className="-mx-1 my-1 h-px bg-line" />
