import { expect, test } from 'vitest'
import { chips, readMarketSearch, toQuery } from './search'

const nothing = {
  q: undefined, model: undefined, vram: undefined, gpus: undefined, price: undefined, region: undefined,
  tags: undefined, isolation: undefined, uptime: undefined, verified: undefined, sort: undefined,
}

test('what makes no sense in the URL is undefined, so that it does not stay there', () => {
  expect(readMarketSearch({ vram: 'much', gpus: '1.5', price: '-1', tags: ['OK', 'fast'], isolation: 'strong', uptime: 101, sort: 'price', verified: 'no', x: 1 })).toStrictEqual({ ...nothing, tags: ['fast'] })
})

test('a name that every object has is no order of the market', () => {
  expect(readMarketSearch({ sort: 'toString' })).toStrictEqual(nothing)
})

test('filters become the query of the API, and chips that each remove one', () => {
  const s = readMarketSearch({ q: 'h100', vram: 24, gpus: '2', price: 0.5, region: 'eu', tags: ['a', 'b'], isolation: 'container', uptime: '99.5', verified: true, sort: 'performance' })
  expect(toQuery(s)).toEqual({
    q: 'h100', min_vram_mb: 24_576, min_gpus: 2, max_price_micros: 500_000, region: ['eu'], tags: ['a', 'b'],
    isolation: 'container', min_uptime: 0.995, verified: true, sort: 'performance',
  })
  const all = chips(s)
  expect(all.map((c) => c.key)).toEqual(['q', 'vram', 'gpus', 'price', 'region', 'isolation', 'uptime', 'verified', 'tag-a', 'tag-b'])
  expect(toQuery(all[3]?.without ?? {})).not.toHaveProperty('max_price_micros')
  expect(all[8]?.without.tags).toEqual(['b'])
})
