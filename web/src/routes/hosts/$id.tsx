import { createFileRoute } from '@tanstack/react-router'
import { HostPage } from '@/features/market/host-page'

export const Route = createFileRoute('/hosts/$id')({ component: HostPage })
