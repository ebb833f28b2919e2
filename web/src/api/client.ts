import createFetchClient from 'openapi-fetch'
import createHooks from 'openapi-react-query'
import { session } from '@/session'
import { ApiError, noAnswer, refusal } from './problem'
import type { components, paths } from './schema.gen'

/** The schemas of the API by their name. */
export type Schemas = components['schemas']

/** Sends a request with the token of the session. A token that the server does not
 * accept any more is renewed, once. */
async function send(request: Request): Promise<Response> {
  const token = await session.token()
  if (!token) return attempt(request)
  const again = request.clone()
  request.headers.set('Authorization', `Bearer ${token}`)
  const response = await attempt(request)
  if (response.status !== 401) return response
  const fresh = await session.after(token)
  if (!fresh) return response
  again.headers.set('Authorization', `Bearer ${fresh}`)
  return attempt(again)
}

async function attempt(request: Request): Promise<Response> {
  try {
    return await fetch(request)
  } catch (error) {
    if (request.signal.aborted) throw error
    throw noAnswer()
  }
}

/** The API, typed by its document. Every call throws an ApiError where it is refused:
 * `data` of a result is always there. */
export const api = createFetchClient<paths>({ baseUrl: location.origin, fetch: send })

api.use({
  async onResponse({ response }) {
    if (!response.ok) throw await refusal(response)
  },
})

/** The API as hooks: `query.useQuery('get', '/api/jobs')`, useMutation, queryOptions. */
export const query = createHooks(api)

/** Whether another try may help, for queries. */
export function worthRetrying(failures: number, error: unknown): boolean {
  if (failures >= 2) return false
  return !(error instanceof ApiError) || error.status === 0 || error.status >= 500
}
