import { useEffect, useState } from 'react'
import { query, type Schemas } from '@/api/client'
import { news, type News } from '@/live/me'
import { add } from './series'

type Samples = Record<string, Schemas['LoadSample'][]>

/** The load of a host's GPUs over the last ten minutes, by device: what the server has
 * kept, then each heartbeat as it comes. */
export function useLoad(host: string): Samples {
  const kept = query.useQuery('get', '/api/hosts/{id}/telemetry', { params: { path: { id: host } } }, { staleTime: Infinity })
  const [heard, setHeard] = useState<Samples>({})
  useEffect(() => {
    const onLoad = (e: Event) => {
      const { frame } = e as News<'load'>
      if (frame.host_id !== host) return
      setHeard((known) => {
        const next = { ...known }
        for (const { device_id, ...load } of frame.devices) next[device_id] = add(next[device_id] ?? [], { time: frame.time, ...load })
        return next
      })
    }
    news.addEventListener('load', onLoad)
    return () => news.removeEventListener('load', onLoad)
  }, [host])
  const all: Samples = {}
  for (const d of kept.data?.items ?? []) all[d.device_id] = d.samples
  for (const [id, samples] of Object.entries(heard)) {
    all[id] = samples.reduce(add, all[id] ?? [])
  }
  return all
}
