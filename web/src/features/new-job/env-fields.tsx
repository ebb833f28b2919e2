import { Plus, X } from 'lucide-react'
import { Button } from '@/components/ui/button'
import { Checkbox } from '@/components/ui/checkbox'
import { FieldError } from '@/components/ui/field'
import { Input } from '@/components/ui/input'
import type { Problems, Variable } from './values'

/** The environment variables. What is secret is masked here, encrypted there, and never
 * shown again. */
export function EnvFields({ env, problems, onChange }: { env: Variable[]; problems: Problems; onChange: (env: Variable[]) => void }) {
  const change = (i: number, v: Partial<Variable>) => onChange(env.map((e, at) => (at === i ? { ...e, ...v } : e)))
  return (
    <fieldset className="grid gap-2">
      <legend className="mb-1.5 text-sm font-medium">Environment variables</legend>
      {env.map((e, i) => {
        const wrong = problems[`env.${i}`]
        return (
          // oxlint-disable-next-line react/no-array-index-key -- a row is its place
          <div key={i} className="grid gap-1.5">
            <div className="grid grid-cols-[1fr_auto] gap-2 sm:grid-cols-[minmax(0,2fr)_minmax(0,3fr)_auto_auto] sm:items-center">
              <Input
                aria-label={`Name of variable ${i + 1}`}
                aria-invalid={wrong ? true : undefined}
                aria-describedby={wrong ? `env-${i}-error` : undefined}
                placeholder="NAME"
                className="font-mono text-[13px]"
                autoCapitalize="none"
                autoComplete="off"
                spellCheck={false}
                value={e.name}
                onChange={(x) => change(i, { name: x.target.value, ...(e.kept ? { kept: false } : {}) })}
              />
              <Input
                aria-label={`Value of variable ${i + 1}`}
                placeholder={e.kept ? 'unchanged' : 'value'}
                className="font-mono text-[13px] max-sm:order-3 max-sm:col-span-2"
                type={e.secret ? 'password' : 'text'}
                autoComplete="off"
                spellCheck={false}
                value={e.value}
                onChange={(x) => change(i, { value: x.target.value, kept: false })}
              />
              <label htmlFor={`env-${i}-secret`} className="flex items-center gap-2 text-[13px] max-sm:order-4">
                <Checkbox id={`env-${i}-secret`} checked={e.secret} onChange={(x) => change(i, { secret: x.target.checked })} />
                Secret
              </label>
              <Button variant="quiet" size="icon" onClick={() => onChange(env.filter((_, at) => at !== i))}>
                <X aria-hidden />
                <span className="sr-only">Remove variable {i + 1}</span>
              </Button>
            </div>
            <FieldError id={`env-${i}-error`}>{wrong}</FieldError>
          </div>
        )
      })}
      <div>
        <Button variant="secondary" size="small" onClick={() => onChange([...env, { name: '', value: '', secret: false }])}>
          <Plus aria-hidden />
          Add a variable
        </Button>
      </div>
    </fieldset>
  )
}
