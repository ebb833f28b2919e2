import { useQueryClient } from '@tanstack/react-query'
import { api, type Schemas } from '@/api/client'
import { asApiError } from '@/api/problem'
import { notify } from '@/components/ui/toast'
import { sentence } from '@/lib/sentence'

type Host = Schemas['Host']
type Change = Schemas['DeviceChange']

/** Changes price or listing: shown at once, taken back where the server refuses, and
 * undone by who asks. Without a device it is for all of them. */
export function useOffer(host: Host) {
  const client = useQueryClient()
  const show = (change: Change, device?: string) =>
    client.setQueriesData<Schemas['HostList']>({ queryKey: ['get', '/api/hosts'] }, (list) =>
      list?.items
        ? {
            ...list,
            items: list.items.map((h) =>
              h.id === host.id ? { ...h, devices: h.devices.map((d) => (device === undefined || d.id === device ? { ...d, ...change } : d)) } : h,
            ),
          }
        : list,
    )
  const send = async (change: Change, device?: string) => {
    const path = { id: host.id }
    if (device === undefined) await api.PATCH('/api/hosts/{id}', { params: { path }, body: change })
    else await api.PATCH('/api/hosts/{id}/devices/{device}', { params: { path: { ...path, device } }, body: change })
  }
  return async (change: Change, what: string, device?: string) => {
    const before = host.devices.filter((d) => device === undefined || d.id === device)
    await client.cancelQueries({ queryKey: ['get', '/api/hosts'] })
    show(change, device)
    try {
      await send(change, device)
      void notify('success', what, { action: { label: 'Undo', onClick: () => void undo(before, change) } })
    } catch (error) {
      for (const d of before) show({ price_micros: d.price_micros, listed: d.listed }, d.id)
      void notify('error', 'It was not changed', { description: sentence(asApiError(error).message) })
    } finally {
      void client.invalidateQueries({ queryKey: ['get', '/api/hosts'] })
    }
  }

  async function undo(before: Host['devices'], change: Change) {
    try {
      for (const d of before) {
        const old: Change = { ...(change.price_micros === undefined ? {} : { price_micros: d.price_micros }), ...(change.listed === undefined ? {} : { listed: d.listed }) }
        show(old, d.id)
        // oxlint-disable-next-line no-await-in-loop -- one version of the host after the other
        await send(old, d.id)
      }
    } catch (error) {
      void notify('error', 'It could not be undone', { description: sentence(asApiError(error).message) })
    } finally {
      void client.invalidateQueries({ queryKey: ['get', '/api/hosts'] })
    }
  }
}
