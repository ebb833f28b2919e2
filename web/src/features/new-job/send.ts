import { ApiError, noAnswer } from '@/api/problem'
import type { Schemas } from '@/api/client'
import { session } from '@/session'

type Problem = Schemas['Problem']

/** Sends a job and its ZIP in one request and tells how much is on its way. fetch cannot
 * tell that. */
export async function sendBundle(
  body: object,
  bundle: File,
  key: string,
  onProgress: (sent: number, total: number) => void,
  signal: AbortSignal,
): Promise<Schemas['Job']> {
  const form = new FormData()
  form.append('job', new Blob([JSON.stringify(body)], { type: 'application/json' }))
  form.append('bundle', new File([bundle], 'bundle.zip', { type: 'application/zip' }))
  const token = await session.token()
  try {
    return await post(form, token, key, onProgress, signal)
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 401 || !token) throw error
    return post(form, await session.after(token), key, onProgress, signal)
  }
}

function post(form: FormData, token: string | undefined, key: string, onProgress: (sent: number, total: number) => void, signal: AbortSignal) {
  return new Promise<Schemas['Job']>((resolve, reject) => {
    const request = new XMLHttpRequest()
    request.open('POST', '/api/jobs')
    request.responseType = 'json'
    request.setRequestHeader('Idempotency-Key', key)
    if (token) request.setRequestHeader('Authorization', `Bearer ${token}`)
    request.upload.addEventListener('progress', (e) => onProgress(e.loaded, e.total))
    request.addEventListener('load', () => {
      if (request.status < 300) resolve(request.response as Schemas['Job'])
      else reject(refused(request))
    })
    request.addEventListener('error', () => reject(noAnswer()))
    request.addEventListener('abort', () => reject(new ApiError({ status: 0, code: 'cancelled', detail: 'The upload was cancelled.' })))
    signal.addEventListener('abort', () => request.abort())
    request.send(form)
  })
}

function refused(request: XMLHttpRequest): ApiError {
  const body = (request.response ?? {}) as Partial<Problem>
  const seconds = Number(request.getResponseHeader('Retry-After') ?? Number.NaN)
  return new ApiError({
    status: request.status,
    code: body.code ?? `http_${request.status}`,
    detail: body.detail ?? `The server answered ${request.status} without saying why.`,
    requestId: request.getResponseHeader('X-Request-Id') ?? undefined,
    retryAfter: Number.isFinite(seconds) ? seconds : undefined,
    fields: body.errors,
  })
}
