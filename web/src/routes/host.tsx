import { createFileRoute } from '@tanstack/react-router'
import { needs } from '@/app/guards'
import { MachinesPage } from '@/features/machines/machines-page'

export const Route = createFileRoute('/host')({ beforeLoad: needs('host'), component: MachinesPage })
