import type { ComponentProps } from 'react'
import { cn } from '@/lib/cn'

/** A table that scrolls sideways by itself, and by keyboard, where it is too wide. Its
 * label says what it lists; its class is the region's, so that what is hidden is no stop
 * of the Tab key. */
export const Table = ({ className, 'aria-label': label, ...props }: ComponentProps<'table'> & { 'aria-label': string }) => (
  // A region that scrolls has to be reachable by keyboard.
  // oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex
  <section className={cn('relative overflow-x-auto', className)} aria-label={label} tabIndex={0}>
    <table className="w-full border-collapse text-sm" {...props} />
  </section>
)

export const Th = ({ className, ...props }: ComponentProps<'th'>) => (
  <th
    scope="col"
    className={cn('h-9 border-b border-line px-3 text-left text-[13px] font-medium whitespace-nowrap text-muted first:pl-4 last:pr-4 sm:first:pl-5 sm:last:pr-5', className)}
    {...props}
  />
)

export const Td = ({ className, ...props }: ComponentProps<'td'>) => (
  <td className={cn('h-11 border-b border-line px-3 py-1.5 first:pl-4 last:pr-4 sm:first:pl-5 sm:last:pr-5 [tr:last-child>&]:border-b-0', className)} {...props} />
)
