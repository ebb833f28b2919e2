import { zodResolver } from '@hookform/resolvers/zod'
import { useMutation } from '@tanstack/react-query'
import { getRouteApi, Link } from '@tanstack/react-router'
import { useForm } from 'react-hook-form'
import { asApiError } from '@/api/problem'
import { Button } from '@/components/ui/button'
import { Field } from '@/components/ui/field'
import { Input } from '@/components/ui/input'
import { z } from '@/lib/zod'
import { Receipt } from '../landing/receipt'
import { useEnter } from './enter'
import { FormError, useWait } from './form-error'
import { AuthFrame } from './frame'
import { PasswordInput } from './password-input'

const route = getRouteApi('/login')

const credentials = z.object({
  email: z.string().trim().min(1, 'Enter your e-mail address.'),
  password: z.string().min(1, 'Enter your password.').max(128, 'A password has at most 128 characters.'),
})

/** Signing in with e-mail address and password. */
export function LoginPage() {
  const { next } = route.useSearch()
  const enter = useEnter(next)
  const form = useForm({ resolver: zodResolver(credentials), defaultValues: { email: '', password: '' } })
  const { errors } = form.formState
  const login = useMutation({
    mutationFn: enter,
    onError: () => {
      form.resetField('password')
      form.setFocus('password')
    },
  })
  const error = login.error ? asApiError(login.error) : undefined
  const { until, waiting } = useWait(error)
  return (
    <AuthFrame
      title="Sign in"
      lead={
        <>
          New here?{' '}
          <Link to="/signup" search={{ next }} className="font-medium text-accent-text underline underline-offset-4">
            Create an account
          </Link>
        </>
      }
      beside={<Receipt />}
    >
      <form className="grid gap-4" noValidate onSubmit={(e) => void form.handleSubmit((v) => login.mutate(v))(e)}>
        <FormError error={error} until={until} />
        <Field label="E-mail" error={errors.email?.message}>
          <Input type="email" autoComplete="username" inputMode="email" autoCapitalize="none" spellCheck={false} {...form.register('email')} />
        </Field>
        <Field label="Password" error={errors.password?.message}>
          <PasswordInput autoComplete="current-password" {...form.register('password')} />
        </Field>
        <Button type="submit" size="large" className="mt-2" busy={login.isPending} disabled={waiting}>
          Sign in
        </Button>
      </form>
    </AuthFrame>
  )
}
