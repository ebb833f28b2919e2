import type { LucideIcon } from 'lucide-react'
import type { ComponentProps } from 'react'
import { cn } from '@/lib/cn'

/** A button of the viewer: an icon with its name for those who do not see it. */
export function Tool({ icon: Icon, label, className, ...props }: ComponentProps<'button'> & { icon: LucideIcon; label: string }) {
  return (
    <button
      type="button"
      title={label}
      className={cn(
        'grid size-8 shrink-0 place-items-center rounded-control text-log-muted transition-colors hover:bg-hover hover:text-log-text disabled:opacity-45 aria-expanded:bg-hover aria-pressed:bg-accent-soft aria-pressed:text-accent-text',
        className,
      )}
      {...props}
    >
      <Icon className="size-4" aria-hidden />
      <span className="sr-only">{label}</span>
    </button>
  )
}
