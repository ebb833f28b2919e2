import { useState } from 'react'
import { query } from '@/api/client'
import { Card, CardBody, CardHeader } from '@/components/ui/card'
import { Checkbox } from '@/components/ui/checkbox'
import { Field } from '@/components/ui/field'
import { Input } from '@/components/ui/input'
import { Select } from '@/components/ui/select'
import { Fold, folded } from './fold'
import { PinnedHost } from './pinned-host'
import type { Problems, Values } from './values'

/** What a host must have. */
export function NeedsCard({
  values,
  problems,
  text,
  set,
}: {
  values: Values
  problems: Problems
  text: (field: keyof Values) => Pick<React.ComponentProps<'input'>, 'autoComplete'> & { value: string; onChange: (e: { target: { value: string } }) => void }
  set: <K extends keyof Values>(field: K, value: Values[K]) => void
}) {
  const models = query.useQuery('get', '/api/market/gpu-models', undefined, { staleTime: Infinity })
  const [earlierNetwork] = useState(values.network)
  return (
    <Card>
      <CardHeader title="What it needs" />
      <CardBody className="grid gap-4">
        <div className="grid items-start gap-4 sm:grid-cols-3">
          <Field label="GPUs" error={problems.gpus} hint="of one host">
            <Input {...text('gpus')} inputMode="numeric" />
          </Field>
          <Field label="Model" error={problems.model}>
            <Select value={values.model} onChange={(e) => set('model', e.target.value)}>
              <option value="">Any</option>
              {(models.data?.items ?? []).map((m) => (
                <option key={m.name} value={m.name}>
                  {m.name.replace(/^NVIDIA (GeForce )?/, '')}
                </option>
              ))}
              {values.model && !models.data?.items.some((m) => m.name === values.model) && <option value={values.model}>{values.model}</option>}
            </Select>
          </Field>
          <Field label="GPU memory" error={problems.vram} hint="GiB each, at least">
            <Input {...text('vram')} inputMode="decimal" placeholder="any" />
          </Field>
        </div>
        {values.host && <PinnedHost id={values.host} free={() => set('host', '')} />}
        <Fold title="CPU, memory, disk, region, tags, isolation" open={folded(values, ['cpus', 'memory', 'disk', 'region', 'tags', 'verified', 'isolation', 'network'])}>
          <div className="grid items-start gap-4 sm:grid-cols-3">
            <Field label="CPUs" error={problems.cpus}>
              <Input {...text('cpus')} inputMode="decimal" placeholder="any" />
            </Field>
            <Field label="Memory" error={problems.memory} hint="GiB; more stops the job">
              <Input {...text('memory')} inputMode="decimal" placeholder="the host’s share" />
            </Field>
            <Field label="Disk" error={problems.disk} hint="GiB, for the outputs too; more stops the job">
              <Input {...text('disk')} inputMode="decimal" placeholder="10" />
            </Field>
            <Field label="Region" error={problems.region}>
              <Input {...text('region')} placeholder="any" />
            </Field>
            <div className="sm:col-span-2">
              <Field label="Tags" error={problems.tags} hint="All of them, separated by spaces.">
                <Input {...text('tags')} placeholder="fast-disk linux" />
              </Field>
            </div>
            <Field label="Isolation" error={problems.isolation} hint="at least">
              <Select value={values.isolation} onChange={(e) => set('isolation', e.target.value as Values['isolation'])}>
                <option value="">Any</option>
                <option value="process">Process sandbox</option>
                <option value="container">Container</option>
                <option value="gvisor">Container, own kernel</option>
              </Select>
            </Field>
            {earlierNetwork !== 'none' && (
              <Field label="Network" error={problems.network} hint="No host offers one yet: the job waits.">
                <Select value={values.network} onChange={(e) => set('network', e.target.value as Values['network'])}>
                  <option value="none">None</option>
                  <option value="proxy">Some names</option>
                  <option value="full">The Internet</option>
                </Select>
              </Field>
            )}
            {values.network === 'proxy' && (
              <Field label="Names it may reach" error={problems.allow} hint="Separated by spaces.">
                <Input {...text('allow')} placeholder="pypi.org" />
              </Field>
            )}
            <label className="flex items-center gap-2 text-sm sm:col-span-3" htmlFor="needs-verified">
              <Checkbox id="needs-verified" checked={values.verified} onChange={(e) => set('verified', e.target.checked)} />
              Only hosts that an administrator verified
            </label>
          </div>
        </Fold>
      </CardBody>
    </Card>
  )
}
