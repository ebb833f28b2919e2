import { query } from '@/api/client'
import { Mark } from './logo'

/** The end of every page. */
export function Footer() {
  // The bar of the demo lies below it, and would push it up if it came later.
  const { isPending } = query.useQuery('get', '/api/auth/providers', undefined, { staleTime: Infinity })
  if (isPending) return null
  return (
    <footer className="mt-auto border-t border-line">
      <div className="container-page flex flex-wrap items-center justify-between gap-x-8 gap-y-3 py-6 text-sm text-muted">
        <p className="flex items-center gap-2">
          <Mark className="size-5 shrink-0" />
          PeerGPU is free software under the Apache licence.
        </p>
        <ul className="flex gap-5">
          <li>
            <a href="/docs" className="inline-block py-1 hover:text-text hover:underline">
              API reference
            </a>
          </li>
          <li>
            <a href="/openapi.json" className="inline-block py-1 hover:text-text hover:underline">
              OpenAPI
            </a>
          </li>
        </ul>
      </div>
    </footer>
  )
}
