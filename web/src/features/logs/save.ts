import { api } from '@/api/client'
import { ApiError } from '@/api/problem'
import type { Shown } from './layout'

/** The text of lines, each with its end. */
export function textOf(lines: Pick<Shown, 'count' | 'at'>): string {
  const parts: string[] = []
  for (let i = 0; i < lines.count; i++) parts.push(lines.at(i)?.text ?? '', '\n')
  return parts.join('')
}

/** Puts bytes or text into a file of the browser's downloads. */
export function save(name: string, content: BlobPart): void {
  const url = URL.createObjectURL(new Blob([content], { type: 'application/octet-stream' }))
  follow(url, name)
  setTimeout(() => URL.revokeObjectURL(url), 60_000)
}

/** Downloads the log of an attempt as it was written: by a link if the attempt is over,
 * else what there is of it. */
export async function download(job: string, attempt: number): Promise<void> {
  const params = { path: { id: job }, query: { attempt } }
  try {
    const { data } = await api.POST('/api/jobs/{id}/log/link', { params })
    if (data) follow(data.url, `${job}.log`)
  } catch (error) {
    if (!(error instanceof ApiError) || error.code !== 'log_not_complete') throw error
    const { data } = await api.GET('/api/jobs/{id}/logs', { params, parseAs: 'arrayBuffer' })
    save(`${job}.log`, (data as ArrayBuffer | undefined) ?? '')
  }
}

function follow(url: string, name: string) {
  const a = document.createElement('a')
  a.href = url
  a.download = name
  a.rel = 'noopener'
  document.body.append(a)
  a.click()
  a.remove()
}
