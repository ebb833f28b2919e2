import { QueryClient } from '@tanstack/react-query'
import { worthRetrying } from '@/api/client'

/** What the pages know of the server. */
export const queryClient = new QueryClient({
  defaultOptions: {
    queries: { staleTime: 15_000, retry: worthRetrying, retryDelay: (n) => Math.min(8000, 500 * 2 ** n) },
    mutations: { retry: false },
  },
})
