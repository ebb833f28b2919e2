import { Check, Copy } from 'lucide-react'
import { useEffect, useState } from 'react'
import { cn } from '@/lib/cn'

/** Copies a text and says that it did. */
export function CopyButton({ text, label = 'Copy', className }: { text: string; label?: string; className?: string }) {
  const [state, setState] = useState<'idle' | 'done' | 'failed'>('idle')
  useEffect(() => {
    if (state === 'idle') return
    const timer = setTimeout(() => setState('idle'), 2000)
    return () => clearTimeout(timer)
  }, [state])
  const copy = () =>
    navigator.clipboard.writeText(text).then(
      () => setState('done'),
      () => setState('failed'),
    )
  return (
    <button
      type="button"
      onClick={() => void copy()}
      className={cn('grid size-7 shrink-0 place-items-center rounded-control text-muted transition-colors hover:bg-hover hover:text-text', className)}
    >
      {state === 'done' ? <Check className="size-3.5 text-accent-text" aria-hidden /> : <Copy className="size-3.5" aria-hidden />}
      <span className="sr-only">{label}</span>
      <output className="sr-only">
        {state === 'done' && 'Copied'}
        {state === 'failed' && 'The browser does not allow copying'}
      </output>
    </button>
  )
}
