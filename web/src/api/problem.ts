import type { components } from './schema.gen'

type Problem = components['schemas']['Problem']

/** A field that the server refuses, by its JSON pointer. */
export type FieldProblem = components['schemas']['FieldProblem']

/** What the API answers instead of a result, or that it does not answer at all
 * (status 0). It is what every call of the client throws. */
export class ApiError extends Error {
  readonly status: number
  readonly code: string
  readonly requestId: string | undefined
  readonly fields: FieldProblem[]
  /** Seconds to wait before another try, where the server says so. */
  readonly retryAfter: number | undefined
  /** When it was heard, in milliseconds. */
  readonly at = Date.now()

  constructor(p: { status: number; code: string; detail: string; requestId?: string; fields?: FieldProblem[]; retryAfter?: number }) {
    super(p.detail)
    this.name = 'ApiError'
    this.status = p.status
    this.code = p.code
    this.requestId = p.requestId
    this.fields = p.fields ?? []
    this.retryAfter = p.retryAfter
  }
}

/** The error in a response that is none of 2xx. */
export async function refusal(response: Response): Promise<ApiError> {
  const seconds = Number(response.headers.get('Retry-After') ?? Number.NaN)
  let body: Partial<Problem> = {}
  try {
    body = (await response.json()) as Partial<Problem>
  } catch {
    // A proxy's own page, perhaps. The status has to do.
  }
  return new ApiError({
    status: response.status,
    requestId: body.request_id ?? response.headers.get('X-Request-Id') ?? undefined,
    retryAfter: Number.isFinite(seconds) ? seconds : undefined,
    code: body.code ?? `http_${response.status}`,
    detail: body.detail ?? `The server answered ${response.status} without saying why.`,
    fields: body.errors,
  })
}

/** The error of a request that got no answer. */
export const noAnswer = () => new ApiError({ status: 0, code: 'no_answer', detail: 'The server does not answer. Check your connection and try again.' })

/** Whatever was thrown, as something to show. */
export function asApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error
  return new ApiError({ status: 0, code: 'internal', detail: 'Something went wrong on this page. Reload it and try again.' })
}
