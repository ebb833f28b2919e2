import { useState, type ReactNode } from 'react'
import { empty, type Values } from './values'

/** A part that most jobs do not need. */
export function Fold({ title, open, children }: { title: string; open: boolean; children: ReactNode }) {
  const [begin] = useState(open)
  return (
    <details open={begin}>
      <summary className="text-sm font-medium text-muted hover:text-text">{title}</summary>
      <div className="pt-3">{children}</div>
    </details>
  )
}

/** Whether something stands in these fields, so that they must be seen. */
export const folded = (values: Values, fields: (keyof Values)[]) => fields.some((f) => values[f] !== empty[f])
