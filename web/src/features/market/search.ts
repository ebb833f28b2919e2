/** The orders of the marketplace. */
export const sorts = {
  price: 'Cheapest first',
  performance: 'Fastest first',
  performance_per_dollar: 'Best value first',
  reliability: 'Most reliable first',
} as const
export type Sort = keyof typeof sorts

const isolations = ['none', 'process', 'container', 'gvisor'] as const
export type Isolation = (typeof isolations)[number]

/** What the URL of the marketplace says: the filters of GET /api/market/offers, in
 * units that people type. */
export interface MarketSearch {
  q?: string
  model?: string
  /** GiB on each GPU, at least. */
  vram?: number
  /** GPUs of one host, at least. */
  gpus?: number
  /** In the currency, per GPU-hour, at most. */
  price?: number
  region?: string
  tags?: string[]
  isolation?: Isolation
  /** Percent online, at least. */
  uptime?: number
  verified?: true
  sort?: Sort
}

const text = (v: unknown, most: number) => ((typeof v === 'string' || typeof v === 'number') && v !== '' ? String(v).slice(0, most) : undefined)

function number(v: unknown, min: number, max: number): number | undefined {
  const n = typeof v === 'string' && v.trim() !== '' ? Number(v) : v
  return typeof n === 'number' && Number.isFinite(n) && n >= min && n <= max ? n : undefined
}

/** Reads the filters from the URL. What makes no sense is undefined, not absent: the
 * router lays what it gets here over what is in the URL. */
export function readMarketSearch(raw: Record<string, unknown>): MarketSearch {
  const gpus = number(raw.gpus, 2, 16)
  const tags = (Array.isArray(raw.tags) ? raw.tags : [raw.tags]).filter((t): t is string => typeof t === 'string' && /^[a-z0-9][a-z0-9._-]{0,31}$/.test(t))
  const sort = typeof raw.sort === 'string' && Object.hasOwn(sorts, raw.sort) && raw.sort !== 'price' ? (raw.sort as Sort) : undefined
  return {
    q: text(raw.q, 200),
    model: text(raw.model, 100),
    vram: number(raw.vram, 1, 16_384),
    gpus: Number.isInteger(gpus) ? gpus : undefined,
    price: number(raw.price, 0, 10_000),
    region: text(raw.region, 32),
    tags: tags.length > 0 ? [...new Set(tags)].slice(0, 20) : undefined,
    isolation: isolations.find((i) => i === raw.isolation),
    uptime: number(raw.uptime, 1, 100),
    verified: raw.verified === true || raw.verified === 'true' ? true : undefined,
    sort,
  }
}

/** The query of GET /api/market/offers that the filters stand for. */
export function toQuery(s: MarketSearch) {
  return {
    ...(s.q ? { q: s.q } : {}),
    ...(s.model ? { gpu_model: [s.model] } : {}),
    ...(s.vram ? { min_vram_mb: Math.round(s.vram * 1024) } : {}),
    ...(s.gpus ? { min_gpus: s.gpus } : {}),
    ...(s.price !== undefined ? { max_price_micros: Math.round(s.price * 1_000_000) } : {}),
    ...(s.region ? { region: [s.region] } : {}),
    ...(s.tags ? { tags: s.tags } : {}),
    ...(s.isolation ? { isolation: s.isolation } : {}),
    ...(s.uptime ? { min_uptime: s.uptime / 100 } : {}),
    ...(s.verified ? { verified: true } : {}),
    ...(s.sort ? { sort: s.sort } : {}),
  }
}

/** The filters that are set, each with its words and what remains without it. */
export function chips(s: MarketSearch): { key: string; label: string; without: MarketSearch }[] {
  const words: Partial<Record<keyof MarketSearch, string>> = {
    ...(s.q ? { q: `“${s.q}”` } : {}),
    ...(s.model ? { model: s.model.replace(/^NVIDIA (GeForce )?/, '') } : {}),
    ...(s.vram ? { vram: `${s.vram} GiB or more` } : {}),
    ...(s.gpus ? { gpus: `${s.gpus} GPUs or more` } : {}),
    ...(s.price !== undefined ? { price: `at most ${s.price} an hour` } : {}),
    ...(s.region ? { region: s.region } : {}),
    ...(s.isolation ? { isolation: `${s.isolation} or stronger` } : {}),
    ...(s.uptime ? { uptime: `${s.uptime} % online` } : {}),
    ...(s.verified ? { verified: 'verified' } : {}),
  }
  const one = (Object.keys(words) as (keyof MarketSearch)[]).map((key) => ({ key, label: words[key] as string, without: { ...s, [key]: undefined } }))
  const tags = (s.tags ?? []).map((tag) => {
    const rest = s.tags?.filter((t) => t !== tag)
    return { key: `tag-${tag}`, label: tag, without: { ...s, tags: rest?.length ? rest : undefined } }
  })
  return [...one, ...tags] as { key: string; label: string; without: MarketSearch }[]
}
