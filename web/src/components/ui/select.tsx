import { ChevronDown } from 'lucide-react'
import type { ComponentProps, ReactNode } from 'react'
import { cn } from '@/lib/cn'
import { control } from './input'

/** One of several values: the browser's own list, which works everywhere, in our look.
 * The children are options. */
export const Select = ({ className, children, ...props }: ComponentProps<'select'> & { children: ReactNode }) => (
  <span className={cn('relative block', className)}>
    <select className={cn(control, 'appearance-none truncate pr-8')} {...props}>
      {children}
    </select>
    <ChevronDown className="pointer-events-none absolute top-1/2 right-2.5 size-4 -translate-y-1/2 text-muted" aria-hidden />
  </span>
)
