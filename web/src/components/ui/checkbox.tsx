import type { ComponentProps } from 'react'
import { cn } from '@/lib/cn'

/** The browser's checkbox in our colour. Put it into a label with its text. */
export const Checkbox = ({ className, ...props }: ComponentProps<'input'>) => (
  <input type="checkbox" className={cn('size-4 shrink-0 rounded-xs accent-accent', className)} {...props} />
)
