import { createFileRoute } from '@tanstack/react-router'
import { signedIn } from '@/app/guards'
import { JobsPage } from '@/features/jobs/jobs-page'
import { readJobsSearch } from '@/features/jobs/search'

export const Route = createFileRoute('/jobs/')({ validateSearch: readJobsSearch, beforeLoad: signedIn, component: JobsPage })
