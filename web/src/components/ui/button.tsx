import { cva, type VariantProps } from 'class-variance-authority'
import { Loader2 } from 'lucide-react'
import { Slot } from 'radix-ui'
import type { ComponentProps } from 'react'
import { cn } from '@/lib/cn'

const look = cva(
  'inline-flex shrink-0 items-center justify-center gap-2 rounded-control font-medium whitespace-nowrap transition-colors select-none disabled:opacity-55 aria-disabled:opacity-55 [&_svg]:size-4 [&_svg]:shrink-0',
  {
    variants: {
      variant: {
        primary: 'bg-accent text-on-accent hover:bg-accent-hover',
        secondary: 'border border-line bg-surface text-text hover:border-line-strong hover:bg-hover',
        quiet: 'text-muted hover:bg-hover hover:text-text',
        danger: 'bg-danger text-on-accent hover:bg-danger-hover',
        link: 'text-accent-text underline decoration-current/40 underline-offset-4 hover:decoration-current',
      },
      size: {
        small: 'h-8 px-2.5 text-[13px]',
        normal: 'h-9 px-3.5 text-sm',
        large: 'h-11 px-5 text-[15px]',
        icon: 'size-9',
        inline: 'h-auto rounded-xs p-0 text-[length:inherit]',
      },
    },
    defaultVariants: { variant: 'primary', size: 'normal' },
  },
)

/** A button; with asChild, the link inside looks like one. While busy it keeps its
 * width and its name, shows that something happens, and does nothing. */
export function Button({
  className,
  variant,
  size,
  asChild,
  busy,
  children,
  ...props
}: ComponentProps<'button'> & VariantProps<typeof look> & { asChild?: boolean; busy?: boolean }) {
  const classes = cn(look({ variant, size }), className)
  if (asChild) {
    return (
      <Slot.Root className={classes} {...props}>
        {children}
      </Slot.Root>
    )
  }
  return (
    <button
      type="button"
      className={cn(classes, busy && 'relative')}
      aria-busy={busy || undefined}
      {...props}
      disabled={props.disabled || busy}
    >
      {busy && <Loader2 className="absolute animate-spin" aria-hidden />}
      <span className={cn('inline-flex items-center gap-2', busy && 'opacity-0')}>{children}</span>
    </button>
  )
}
