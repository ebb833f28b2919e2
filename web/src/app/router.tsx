import { createRouter } from '@tanstack/react-router'
import { routeTree } from '@/routeTree.gen'
import { ErrorPage, NotFoundPage } from './error-page'

/** The pages of the app. */
export const router = createRouter({
  routeTree,
  defaultPreload: 'intent',
  defaultPreloadStaleTime: 0, // the query cache decides what is fresh
  scrollRestoration: true,
  defaultErrorComponent: ErrorPage,
  defaultNotFoundComponent: NotFoundPage,
})

declare module '@tanstack/react-router' {
  interface Register {
    router: typeof router
  }
}
