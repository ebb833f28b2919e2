import { getRouteApi } from '@tanstack/react-router'
import { useEffect, useState } from 'react'
import type { Schemas } from '@/api/client'
import { Checkbox } from '@/components/ui/checkbox'
import { Field } from '@/components/ui/field'
import { Input } from '@/components/ui/input'
import { Select } from '@/components/ui/select'
import { count, mebibytes, moneyRange } from '@/lib/format'
import { readMarketSearch, type MarketSearch } from './search'

const route = getRouteApi('/gpus')
const typing = 300 // ms
const mostTags = 12

/** The filters; the URL has them, and the facets say what each would give. */
export function Filters({ search, facets }: { search: MarketSearch; facets: Schemas['Facets'] | undefined }) {
  const navigate = route.useNavigate()
  // Back takes back what was chosen; what is being typed is one step.
  const set = (change: Partial<Record<keyof MarketSearch, unknown>>, replace = false) =>
    void navigate({ search: (s) => readMarketSearch({ ...s, ...change }), replace })
  return (
    <search aria-label="Filters" className="grid gap-4">
      <Field label="Search">
        <Typed type="search" placeholder="model, host, tag" value={search.q ?? ''} onRest={(q) => set({ q }, search.q !== undefined)} />
      </Field>
      <Choice label="Model" any="Any" value={search.model} options={choices(facets?.gpu_model, search.model, (m) => m.replace(/^NVIDIA (GeForce )?/, ''))} onChange={(model) => set({ model })} />
      <Choice
        label="GPU memory, at least"
        any="Any"
        value={search.vram ? String(search.vram) : undefined}
        options={(facets?.vram_mb ?? []).map((f) => ({ value: String(Number(f.value) / 1024), label: mebibytes(Number(f.value)) }))}
        onChange={(vram) => set({ vram })}
      />
      <Choice
        label="GPUs of one host, at least"
        any="1"
        value={search.gpus ? String(search.gpus) : undefined}
        options={[2, 4, 8, 16].map((n) => ({ value: String(n), label: String(n) }))}
        onChange={(gpus) => set({ gpus })}
      />
      <Field
        label="Highest price"
        hint={priceRange(facets)}
      >
        <Typed inputMode="decimal" placeholder="any" value={search.price === undefined ? '' : String(search.price)} onRest={(price) => set({ price: price.replace(',', '.') }, search.price !== undefined)} />
      </Field>
      <Choice label="Region" any="Any" value={search.region} options={choices(facets?.region, search.region)} onChange={(region) => set({ region })} />
      <Choice label="Isolation, at least" any="Any" value={search.isolation} options={choices(facets?.isolation, search.isolation)} onChange={(isolation) => set({ isolation })} />
      <Choice
        label="Online, at least"
        any="Any"
        value={search.uptime ? String(search.uptime) : undefined}
        options={[90, 95, 99, 99.9].map((n) => ({ value: String(n), label: `${n} %` }))}
        onChange={(uptime) => set({ uptime })}
      />
      {facets && facets.tags.length > 0 && (
        <fieldset>
          <legend className="mb-1.5 text-sm font-medium">Tags</legend>
          <ul className="grid gap-1.5">
            {facets.tags.slice(0, mostTags).map((f) => {
              const on = search.tags?.includes(f.value) ?? false
              return (
                <li key={f.value}>
                  <label htmlFor={`tag-${f.value}`} className="flex min-h-6 items-center gap-2 text-sm">
                    <Checkbox
                      id={`tag-${f.value}`}
                      checked={on}
                      onChange={() => set({ tags: on ? search.tags?.filter((t) => t !== f.value) : [...(search.tags ?? []), f.value] })}
                    />
                    <span className="flex-1 truncate">{f.value}</span>
                    <span className="num text-[13px] text-muted">{count(f.count)}</span>
                  </label>
                </li>
              )
            })}
          </ul>
        </fieldset>
      )}
    </search>
  )
}

/** What the prices are that there are; a line is kept for it. */
function priceRange(facets: Schemas['Facets'] | undefined): string | undefined {
  if (!facets) return '\u00a0'
  const { min_price_micros: least, max_price_micros: most, currency } = facets
  if (least === undefined || most === undefined) return undefined
  return `${moneyRange(least, most, currency)} an hour`
}

const asIs = (v: string) => v

/** The values of a facet with their counts; one that is chosen is there, whatever it gives. */
function choices(list: Schemas['FacetCount'][] | undefined, value: string | undefined, show = asIs) {
  return [
    ...(value && !list?.some((f) => f.value === value) ? [{ value, label: `${show(value)} (0)` }] : []),
    ...(list ?? []).map((f) => ({ value: f.value, label: `${show(f.value)} (${count(f.count)})` })),
  ]
}

/** A text that is taken over when typing rests. */
function Typed({ value, onRest, ...props }: { value: string; onRest: (value: string) => void } & Omit<React.ComponentProps<'input'>, 'value' | 'onChange'>) {
  const [text, setText] = useState(value)
  const [known, setKnown] = useState(value)
  if (known !== value) {
    setKnown(value)
    setText(value)
  }
  useEffect(() => {
    if (text === value) return
    const timer = setTimeout(() => onRest(text), typing)
    return () => clearTimeout(timer)
  }, [text, value, onRest])
  return <Input {...props} value={text} onChange={(e) => setText(e.target.value)} />
}

function Choice({
  label,
  any,
  value,
  options,
  onChange,
}: {
  label: string
  any: string
  value: string | undefined
  options: { value: string; label: string }[]
  onChange: (value: string | undefined) => void
}) {
  return (
    <Field label={label}>
      <Select value={value ?? ''} onChange={(e) => onChange(e.target.value || undefined)}>
        <option value="">{any}</option>
        {value && !options.some((o) => o.value === value) && <option value={value}>{value}</option>}
        {options.map((o) => (
          <option key={o.value} value={o.value}>
            {o.label}
          </option>
        ))}
      </Select>
    </Field>
  )
}
