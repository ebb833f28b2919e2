import type { ComponentProps, ReactNode } from 'react'
import { cn } from '@/lib/cn'

/** A surface with an edge. */
export const Card = ({ className, ...props }: ComponentProps<'section'>) => (
  <section className={cn('rounded-card border border-line bg-surface', className)} {...props} />
)

/** The head of a card: its title, and what can be done with it. */
export const CardHeader = ({ title, children, className }: { title: ReactNode; children?: ReactNode; className?: string }) => (
  <div className={cn('flex min-h-12 flex-wrap items-center justify-between gap-x-4 gap-y-2 px-4 py-2.5 sm:px-5', className)}>
    <h2 className="text-[15px] font-semibold">{title}</h2>
    {children}
  </div>
)

/** The body of a card. */
export const CardBody = ({ className, ...props }: ComponentProps<'div'>) => (
  <div className={cn('px-4 pb-4 sm:px-5 sm:pb-5', className)} {...props} />
)
