import type { Schemas } from '@/api/client'

const short = (model: string) => model.replace(/^NVIDIA (GeForce )?/, '')

/** The GPUs of a job in a few words. */
export function gpusOf(job: Pick<Schemas['Job'], 'devices' | 'needs'>): string {
  const [first] = job.devices
  if (!first) return job.needs.gpu_model ? short(job.needs.gpu_model) : '–'
  return job.devices.length > 1 ? `${job.devices.length} × ${short(first.model)}` : short(first.model)
}
