import type { ReactNode } from 'react'
import { Title } from '@/app/page'

/** The pages on which one signs in or up: a form, and beside it, where there is room,
 * what waits behind it. */
export function AuthFrame({ title, lead, children, beside }: { title: string; lead: ReactNode; children: ReactNode; beside: ReactNode }) {
  return (
    <div className="container-page grid items-start gap-16 py-10 sm:py-16 lg:grid-cols-[minmax(0,26rem)_minmax(0,1fr)] lg:gap-24">
      <Title>{title}</Title>
      <div className="mx-auto w-full max-w-[26rem]">
        <h1 className="text-2xl font-semibold">{title}</h1>
        <p className="mt-1.5 text-sm text-muted">{lead}</p>
        <div className="mt-7">{children}</div>
      </div>
      <div className="hidden lg:block">{beside}</div>
    </div>
  )
}
