import { cn } from '@/lib/cn'

/** The mark: two machines, and what passes between them. */
export const Mark = ({ className }: { className?: string }) => (
  <svg viewBox="0 0 32 32" className={cn('size-7', className)} aria-hidden>
    <rect width="32" height="32" rx="8" className="fill-accent" />
    <path d="M9 9h6v6H9zM17 17h6v6h-6z" className="fill-on-accent" />
    <path d="M19 9h4v4M13 23H9v-4" className="stroke-on-accent" fill="none" strokeWidth="2.4" opacity=".75" />
  </svg>
)

/** The name with its mark. */
export const Logo = () => (
  <span className="flex items-center gap-2.5 text-[17px] font-semibold tracking-tight">
    <Mark />
    PeerGPU
  </span>
)
