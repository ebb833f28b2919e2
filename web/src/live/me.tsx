import { useQueryClient, type QueryClient } from '@tanstack/react-query'
import { useEffect } from 'react'
import { api, type Schemas } from '@/api/client'
import { useWho } from '@/session'
import { openLive } from './socket'

type Frame =
  | { type: 'job'; job: Schemas['Job'] }
  | { type: 'host'; host: Schemas['Host'] }
  | { type: 'load'; host_id: string; time: string; devices: Schemas['DeviceLoad'][] }
  | { type: 'resync' }

/** What /ws/me tells, for pages that want more than fresh lists. */
export const news = new EventTarget()

/** A piece of news, as pages get it from `news` by the name of its type. */
export class News<T extends Frame['type'] = Frame['type']> extends Event {
  constructor(readonly frame: Extract<Frame, { type: T }>) {
    super(frame.type)
  }
}

/** Keeps what the pages know up to date while somebody is signed in: /ws/me tells
 * which jobs and hosts changed. */
export function LiveUpdates() {
  const client = useQueryClient()
  const id = useWho().user?.id
  useEffect(() => {
    if (!id) return
    return openLive({
      path: () => '/ws/me',
      protocols: async () => {
        const { data } = await api.POST('/api/ws-tickets', { body: { resource: 'me' } })
        return data?.protocols ?? []
      },
      onMessage: (frame) => learn(client, frame as Frame),
      onState: (state) => {
        // It tells changes alone: what happened since the pages read, or while it was
        // away, has to be read.
        if (state === 'open') learn(client, { type: 'resync' })
      },
    })
  }, [client, id])
  return null
}

/** Puts a piece of news into the query cache: the thing itself at once, the lists that
 * it may be in by reading them again, where they are shown. */
export function learn(client: QueryClient, frame: Frame) {
  switch (frame.type) {
    case 'job': {
      // Values of variables are shown to the renter who asks for the job, not told here.
      const { env: _, ...job } = frame.job
      merge(client, '/api/jobs/{id}', job)
      stale(client, '/api/jobs', '/api/hosts/{id}/jobs', '/api/billing/account')
      break
    }
    case 'host':
      merge(client, '/api/hosts/{id}', frame.host)
      stale(client, '/api/hosts')
      break
    case 'resync':
      stale(client, '/api/jobs', '/api/jobs/{id}', '/api/hosts', '/api/hosts/{id}', '/api/hosts/{id}/jobs', '/api/billing/account')
      break
    case 'load':
  }
  news.dispatchEvent(new News(frame))
}

function merge(client: QueryClient, path: string, thing: { id: string }) {
  client.setQueriesData<object>({ queryKey: ['get', path, { params: { path: { id: thing.id } } }] }, (known) => known && { ...known, ...thing })
  void client.invalidateQueries({ queryKey: ['get', path, { params: { path: { id: thing.id } } }] })
}

function stale(client: QueryClient, ...paths: string[]) {
  for (const path of paths) void client.invalidateQueries({ queryKey: ['get', path] })
}
