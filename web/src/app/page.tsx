import type { ReactNode } from 'react'
import { cn } from '@/lib/cn'

/** A page: its title, for the browser and as the one h1, what can be done with the
 * whole of it, and its content. */
export function Page({
  title,
  heading = title,
  lead,
  actions,
  children,
  className,
}: {
  title: string
  heading?: ReactNode
  lead?: ReactNode
  actions?: ReactNode
  children: ReactNode
  className?: string
}) {
  return (
    <div className={cn('container-page py-6 sm:py-8', className)}>
      <Title>{title}</Title>
      <div className="mb-5 flex flex-wrap items-start justify-between gap-x-6 gap-y-3">
        <div className="min-w-0">
          <h1 className="text-2xl leading-9 font-semibold">{heading}</h1>
          {lead && <p className="mt-1 max-w-prose text-sm text-muted">{lead}</p>}
        </div>
        {actions && <div className="flex flex-wrap items-center gap-2">{actions}</div>}
      </div>
      {children}
    </div>
  )
}

/** The document's title; for pages that have a head of their own. */
export const Title = ({ children }: { children: string }) => <title>{children === 'PeerGPU' ? children : `${children} · PeerGPU`}</title>
