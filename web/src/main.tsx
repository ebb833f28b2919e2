import { QueryClientProvider } from '@tanstack/react-query'
import { RouterProvider } from '@tanstack/react-router'
import { StrictMode } from 'react'
import { createRoot } from 'react-dom/client'
import { ApiError } from './api/problem'
import { isMissing, missing } from './app/missing-part'
import { queryClient } from './app/query'
import { router } from './app/router'
import { session } from './session'
import './index.css'

// A part of the app that does not come: whoever goes to its page sees what MissingPart
// makes of it. Pointing at a link, which loads a page ahead, changes nothing. The name
// keeps the router from loading the page again by itself, server or none.
window.addEventListener('vite:preloadError', ({ payload }) => Object.assign(payload, missing))

// What one account saw is not for the next, and a page that needs one asks again.
let user = session.who().user?.id
session.subscribe(() => {
  const who = session.who()
  if (who.user?.id === user) return
  if (user && who.user) {
    // What is on the screen asks again; what is not is forgotten.
    queryClient.removeQueries({ type: 'inactive' })
    void queryClient.resetQueries()
  } else if (user) {
    queryClient.clear()
  }
  user = who.user?.id
  void router.invalidate()
})

// Who it is, is asked while the page is made; a page that needs to know waits for it,
// and says what is wrong when there is no answer.
session.known().catch(() => undefined)

const root = document.getElementById('root')
if (root) {
  createRoot(root, {
    // A refusal of the server, or that it is away, has a page of its own and is no
    // mistake of the program.
    onCaughtError: (error) => {
      // oxlint-disable-next-line no-console -- as React does by itself
      if (!(error instanceof ApiError || isMissing(error))) console.error(error)
    },
  }).render(
    <StrictMode>
      <QueryClientProvider client={queryClient}>
        <RouterProvider router={router} />
      </QueryClientProvider>
    </StrictMode>,
  )
}
