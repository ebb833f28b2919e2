import { cn } from '@/lib/cn'

/** Stands where content will be, in its size, so that nothing moves when it comes. */
export const Skeleton = ({ className }: { className?: string }) => (
  <span aria-hidden className={cn('block animate-pulse rounded-control bg-hover', className)} />
)

/** Says to screen readers what the skeletons show. */
export const Loading = ({ what }: { what: string }) => (
  <output className="sr-only">Loading {what}</output>
)
