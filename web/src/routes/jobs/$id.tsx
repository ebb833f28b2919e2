import { createFileRoute } from '@tanstack/react-router'
import { signedIn } from '@/app/guards'
import { JobPage } from '@/features/job/job-page'
import { readJobSearch } from '@/features/job/search'

export const Route = createFileRoute('/jobs/$id')({ validateSearch: readJobSearch, beforeLoad: signedIn, component: JobPage })
