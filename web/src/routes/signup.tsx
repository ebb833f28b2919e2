import { createFileRoute } from '@tanstack/react-router'
import { readNext, signedOut } from '@/features/auth/next'
import { SignUpPage } from '@/features/auth/sign-up-page'

export const Route = createFileRoute('/signup')({
  validateSearch: readNext,
  beforeLoad: signedOut,
  component: SignUpPage,
})
