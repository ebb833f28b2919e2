import type { AnyRouter } from '@tanstack/react-router'
import type { Place } from './places'

/** Goes to a place. */
export function follow(router: AnyRouter, place: Place) {
  if (place.to) void router.navigate({ to: place.to })
  else if (place.href) location.assign(place.href)
}
