import type { ReactNode } from 'react'

/** What stands where a list has nothing in it: why, and what to do about it. */
export const Empty = ({ icon, title, children, action }: { icon?: ReactNode; title: string; children?: ReactNode; action?: ReactNode }) => (
  <div className="flex flex-col items-center px-6 py-12 text-center">
    {icon && <div className="mb-3 grid size-10 place-items-center rounded-full bg-sunken text-muted ring-1 ring-line [&_svg]:size-5">{icon}</div>}
    <p className="font-medium">{title}</p>
    {children && <div className="mt-1 max-w-md text-sm text-muted">{children}</div>}
    {action && <div className="mt-4">{action}</div>}
  </div>
)
