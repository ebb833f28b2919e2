import { createFileRoute } from '@tanstack/react-router'
import { readNext, signedOut } from '@/features/auth/next'
import { LoginPage } from '@/features/auth/login-page'

export const Route = createFileRoute('/login')({
  validateSearch: readNext,
  beforeLoad: signedOut,
  component: LoginPage,
})
