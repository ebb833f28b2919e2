import type { FieldPath, FieldValues, UseFormReturn } from 'react-hook-form'
import { asApiError, type ApiError } from '@/api/problem'
import { sentence } from '@/lib/sentence'

/** Puts what the server refused beside the fields that it names, by the last part of
 * their pointer, and focuses the first. Returns the error if some of it belongs to no
 * field of the form. */
export function showRefusal<T extends FieldValues>(form: UseFormReturn<T>, thrown: unknown): ApiError | undefined {
  const error = asApiError(thrown)
  const known = Object.keys(form.getValues())
  let rest = error.fields.length === 0
  let first = true
  for (const f of error.fields) {
    const name = f.pointer.split('/').pop() ?? ''
    if (!known.includes(name)) {
      rest = true
      continue
    }
    form.setError(name as FieldPath<T>, { type: f.code, message: sentence(f.detail) }, { shouldFocus: first })
    first = false
  }
  return rest ? error : undefined
}

