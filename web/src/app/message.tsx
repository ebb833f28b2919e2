import { Link } from '@tanstack/react-router'
import type { ReactNode } from 'react'
import { Button } from '@/components/ui/button'
import { Title } from './page'

/** A page of a few words, for where there is none: what is wrong, and where to go. */
export function Message({ title, code, children, action }: { title: string; code?: string; children: ReactNode; action?: ReactNode }) {
  return (
    <div className="container-page grid min-h-[60vh] place-content-center py-16 text-center">
      <Title>{title}</Title>
      {code && <p className="num font-mono text-sm text-muted">{code}</p>}
      <h1 className="mt-1 text-2xl font-semibold">{title}</h1>
      <div className="mx-auto mt-2 max-w-md text-muted">{children}</div>
      <div className="mt-6 flex justify-center gap-2">
        {action}
        <Button asChild variant={action ? 'secondary' : 'primary'}>
          <Link to="/">Go to the start</Link>
        </Button>
      </div>
    </div>
  )
}
