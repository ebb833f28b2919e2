import { X } from 'lucide-react'
import { Dialog as Radix } from 'radix-ui'
import type { ComponentProps, ReactNode } from 'react'
import { cn } from '@/lib/cn'
import { Button } from './button'
import { useFocusReturn } from './focus-return'

export const Dialog = Radix.Root
export const DialogTrigger = Radix.Trigger
export const DialogClose = Radix.Close

/** The window of a dialog. Focus stays inside and returns to what opened it. */
export function DialogContent({
  title,
  description,
  children,
  className,
  ...props
}: Omit<ComponentProps<typeof Radix.Content>, 'title'> & { title: ReactNode; description?: ReactNode }) {
  const focusReturn = useFocusReturn()
  return (
    <Radix.Portal>
      <Radix.Overlay className="fixed inset-0 z-40 bg-overlay" />
      <Radix.Content
        {...(description ? undefined : { 'aria-describedby': undefined })}
        className={cn(
          'fixed top-[max(1rem,12vh)] left-1/2 z-50 max-h-[80dvh] w-[calc(100vw-2rem)] max-w-lg -translate-x-1/2 animate-appear overflow-y-auto rounded-card border border-line bg-surface p-5 shadow-float',
          className,
        )}
        {...focusReturn}
        {...props}
      >
        <Radix.Title className="pr-8 text-lg font-semibold">{title}</Radix.Title>
        {description && <Radix.Description className="mt-1 text-sm text-muted">{description}</Radix.Description>}
        {children}
        <Radix.Close asChild>
          <Button variant="quiet" size="icon" className="absolute top-3 right-3">
            <X aria-hidden />
            <span className="sr-only">Close</span>
          </Button>
        </Radix.Close>
      </Radix.Content>
    </Radix.Portal>
  )
}

/** The row of buttons at the end of a dialog. */
export const DialogFooter = ({ children }: { children: ReactNode }) => (
  <div className="mt-6 flex flex-col-reverse gap-2 sm:flex-row sm:justify-end">{children}</div>
)
