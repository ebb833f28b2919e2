import { useQueryClient } from '@tanstack/react-query'
import { useState, type FormEvent } from 'react'
import { query, type Schemas } from '@/api/client'
import { asApiError } from '@/api/problem'
import { Button } from '@/components/ui/button'
import { Dialog, DialogClose, DialogContent, DialogFooter } from '@/components/ui/dialog'
import { Field } from '@/components/ui/field'
import { Input } from '@/components/ui/input'
import { sentence } from '@/lib/sentence'

type Host = Schemas['Host']

/** What a machine is called, where it stands, and what renters find it by. */
export function EditDialog({ host, open, onOpenChange }: { host: Host; open: boolean; onOpenChange: (open: boolean) => void }) {
  return (
    <Dialog open={open} onOpenChange={onOpenChange}>
      <DialogContent title={`Describe ${host.name}`} description="Renters see this, and search by it.">
        <EditForm host={host} done={() => onOpenChange(false)} />
      </DialogContent>
    </Dialog>
  )
}

function EditForm({ host, done }: { host: Host; done: () => void }) {
  const client = useQueryClient()
  const [name, setName] = useState(host.name)
  const [region, setRegion] = useState(host.region ?? '')
  const [tags, setTags] = useState(host.tags.join(' '))
  const save = query.useMutation('patch', '/api/hosts/{id}', {
    onSuccess: () => {
      void client.invalidateQueries({ queryKey: ['get', '/api/hosts'] })
      done()
    },
  })
  const error = save.error ? asApiError(save.error) : undefined
  const wrong = (field: string) => {
    const f = error?.fields.find((x) => x.pointer.startsWith(`/${field}`))
    return f && sentence(f.detail)
  }
  const submit = (e: FormEvent) => {
    e.preventDefault()
    save.mutate({
      params: { path: { id: host.id } },
      body: { name: name.trim(), region: region.trim(), tags: [...new Set(tags.toLowerCase().split(/[\s,]+/).filter(Boolean))] },
    })
  }
  return (
    <form className="mt-4 grid gap-4" noValidate onSubmit={submit}>
      <Field label="Name" error={wrong('name')}>
        <Input value={name} maxLength={64} onChange={(e) => setName(e.target.value)} />
      </Field>
      <Field label="Region" hint="Such as eu-de. Empty: not said." error={wrong('region')}>
        <Input value={region} maxLength={32} onChange={(e) => setRegion(e.target.value)} />
      </Field>
      <Field label="Tags" hint="Separated by spaces." error={wrong('tags')}>
        <Input value={tags} onChange={(e) => setTags(e.target.value)} />
      </Field>
      {error && error.fields.length === 0 && (
        <p role="alert" className="text-sm text-danger-text">
          {sentence(error.message)}
        </p>
      )}
      <DialogFooter>
        <DialogClose asChild>
          <Button variant="secondary">Cancel</Button>
        </DialogClose>
        <Button type="submit" busy={save.isPending}>
          Save
        </Button>
      </DialogFooter>
    </form>
  )
}
