import type { ComponentProps } from 'react'
import { cn } from '@/lib/cn'

/** How every control that takes text looks. */
export const control =
  'h-9 w-full rounded-control border border-line-strong/60 bg-surface px-3 text-sm text-text transition-colors hover:border-line-strong disabled:opacity-55 aria-invalid:border-danger-text'

/** One line of text. */
export const Input = ({ className, ...props }: ComponentProps<'input'>) => <input className={cn(control, className)} {...props} />

/** Several lines of text. */
export const Textarea = ({ className, ...props }: ComponentProps<'textarea'>) => (
  <textarea className={cn(control, 'h-auto min-h-20 py-2', className)} {...props} />
)
