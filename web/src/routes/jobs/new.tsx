import { createFileRoute } from '@tanstack/react-router'
import { signedIn } from '@/app/guards'
import { NewJobPage } from '@/features/new-job/new-job-page'
import { readNewJobSearch } from '@/features/jobs/search'

export const Route = createFileRoute('/jobs/new')({ validateSearch: readNewJobSearch, beforeLoad: signedIn, component: NewJobPage })
