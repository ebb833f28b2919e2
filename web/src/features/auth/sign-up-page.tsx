import { zodResolver } from '@hookform/resolvers/zod'
import { useMutation } from '@tanstack/react-query'
import { getRouteApi, Link } from '@tanstack/react-router'
import { useState } from 'react'
import { useForm } from 'react-hook-form'
import { api, query } from '@/api/client'
import type { ApiError } from '@/api/problem'
import { Button } from '@/components/ui/button'
import { Checkbox } from '@/components/ui/checkbox'
import { Field, FieldError } from '@/components/ui/field'
import { Input } from '@/components/ui/input'
import { z } from '@/lib/zod'
import { Receipt } from '../landing/receipt'
import { useEnter } from './enter'
import { showRefusal } from './fields'
import { FormError, useWait } from './form-error'
import { AuthFrame } from './frame'
import { PasswordInput } from './password-input'

const route = getRouteApi('/signup')

const account = z.object({
  name: z.string().trim().min(1, 'Enter the name that others should see.').max(80, 'A name has at most 80 characters.'),
  email: z.email('Enter an e-mail address, such as ada@example.org.').max(254, 'An address has at most 254 characters.'),
  password: z.string().min(8, 'A password has at least 8 characters.').max(128, 'A password has at most 128 characters.'),
  accepted_terms: z.boolean().refine((v) => v, 'The terms have to be accepted.'),
})

/** Opening an account, which signs in at once. */
export function SignUpPage() {
  const { next } = route.useSearch()
  const { data: ways } = query.useQuery('get', '/api/auth/providers', undefined, { staleTime: Infinity })
  const enter = useEnter(next)
  const [error, setError] = useState<ApiError>()
  const form = useForm({ resolver: zodResolver(account), defaultValues: { name: '', email: '', password: '', accepted_terms: false } })
  const { errors } = form.formState
  const register = useMutation({
    mutationFn: async (body: z.infer<typeof account>) => {
      await api.POST('/api/auth/register', { body })
      await enter({ email: body.email, password: body.password })
    },
    onMutate: () => setError(undefined),
    onError: (thrown) => setError(showRefusal(form, thrown)),
  })
  const { until, waiting } = useWait(error)
  const lead = (
    <>
      Have one already?{' '}
      <Link to="/login" search={{ next }} className="font-medium text-accent-text underline underline-offset-4">
        Sign in
      </Link>
    </>
  )
  if (ways && ways.sign_up !== 'open') {
    return (
      <AuthFrame title="Create an account" lead={lead} beside={<Receipt />}>
        <p className="rounded-lg bg-info-soft p-3 text-sm text-info-text">
          {ways.sign_up === 'closed' ? 'This installation takes no new accounts.' : 'Accounts here are by invitation. Ask the operator for one.'}
        </p>
      </AuthFrame>
    )
  }
  return (
    <AuthFrame title="Create an account" lead={lead} beside={<Receipt />}>
      <form className="grid gap-4" noValidate onSubmit={(e) => void form.handleSubmit((v) => register.mutate(v))(e)}>
        <FormError error={error} until={until} />
        <Field label="Name" error={errors.name?.message}>
          <Input autoComplete="name" {...form.register('name')} />
        </Field>
        <Field label="E-mail" error={errors.email?.message}>
          <Input type="email" autoComplete="email" inputMode="email" autoCapitalize="none" spellCheck={false} {...form.register('email')} />
        </Field>
        <Field label="Password" hint="At least 8 characters. A few unrelated words are good." error={errors.password?.message}>
          <PasswordInput autoComplete="new-password" {...form.register('password')} />
        </Field>
        <div className="grid gap-1.5">
          <label className="flex items-start gap-2.5 text-sm">
            <Checkbox
              className="mt-0.5"
              aria-invalid={errors.accepted_terms ? true : undefined}
              aria-describedby={errors.accepted_terms ? 'terms-error' : undefined}
              {...form.register('accepted_terms')}
            />
            <span>
              I accept the terms of this installation. I know that the owner of a machine can see what I run on it, and that jobs on my
              machine are other people&rsquo;s programs.
            </span>
          </label>
          <FieldError id="terms-error">{errors.accepted_terms?.message}</FieldError>
        </div>
        <Button type="submit" size="large" className="mt-2" busy={register.isPending} disabled={waiting}>
          Create account
        </Button>
        <p className="text-[13px] text-muted">One account rents GPUs and offers its own.</p>
      </form>
    </AuthFrame>
  )
}
