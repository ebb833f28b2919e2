import { useEffect, useEffectEvent, useState } from 'react'
import { formatRange, parseRange, type Range } from './permalink'

/** The lines that the address names in the log of this attempt, and a way to name others.
 * Those of another attempt are shown in its log. The page stays where it is, and so does
 * its history. */
export function useChosen(attempt: number, attempts: number, onAttempt: (attempt: number) => void): [Range | undefined, (range: Range | undefined) => void] {
  const [range, setRange] = useState(() => parseRange(location.hash))
  useEffect(() => {
    const change = () => setRange(parseRange(location.hash))
    window.addEventListener('hashchange', change)
    return () => window.removeEventListener('hashchange', change)
  }, [])
  const go = useEffectEvent((wanted: number) => {
    if (wanted > 0 && wanted !== attempt && wanted <= attempts) onAttempt(wanted)
  })
  useEffect(() => go(range?.attempt ?? 0), [range])
  const choose = (next: Range | undefined) => {
    const chosen = next && { ...next, attempt }
    setRange(chosen)
    history.replaceState(history.state, '', chosen ? formatRange(chosen) : location.pathname + location.search)
  }
  return [range && (range.attempt ?? attempt) === attempt ? range : undefined, choose]
}
