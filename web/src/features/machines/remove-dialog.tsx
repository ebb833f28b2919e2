import { useQueryClient } from '@tanstack/react-query'
import { useState } from 'react'
import { query, type Schemas } from '@/api/client'
import { asApiError } from '@/api/problem'
import { Button } from '@/components/ui/button'
import { Dialog, DialogClose, DialogContent, DialogFooter } from '@/components/ui/dialog'
import { Field } from '@/components/ui/field'
import { Input } from '@/components/ui/input'
import { sentence } from '@/lib/sentence'

/** Removes a machine for good, after its name was typed. */
export function RemoveDialog({ host, open, onOpenChange }: { host: Schemas['Host']; open: boolean; onOpenChange: (open: boolean) => void }) {
  const client = useQueryClient()
  const [typed, setTyped] = useState('')
  const remove = query.useMutation('delete', '/api/hosts/{id}', {
    onSuccess: () => {
      void client.invalidateQueries({ queryKey: ['get', '/api/hosts'] })
      onOpenChange(false)
    },
  })
  const busy = host.devices.filter((d) => d.occupied).length
  return (
    <Dialog open={open} onOpenChange={onOpenChange}>
      <DialogContent
        title={`Remove ${host.name}?`}
        description={`It leaves the market and its agent is turned away. ${busy > 0 ? 'What runs on it now goes to another host and earns nothing. ' : ''}What it earned and its history stay. To come back it has to be enrolled anew.`}
      >
        <div className="mt-4">
          <Field label={`Type ${host.name} to confirm`}>
            <Input value={typed} onChange={(e) => setTyped(e.target.value)} autoComplete="off" spellCheck={false} />
          </Field>
        </div>
        {remove.error && (
          <p role="alert" className="mt-3 text-sm text-danger-text">
            {sentence(asApiError(remove.error).message)}
          </p>
        )}
        <DialogFooter>
          <DialogClose asChild>
            <Button variant="secondary">Keep it</Button>
          </DialogClose>
          <Button variant="danger" disabled={typed !== host.name} busy={remove.isPending} onClick={() => remove.mutate({ params: { path: { id: host.id } } })}>
            Remove it
          </Button>
        </DialogFooter>
      </DialogContent>
    </Dialog>
  )
}
