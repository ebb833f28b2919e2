import { useEffect, useState } from 'react'
import { formatRange, parseRange, type Range } from './permalink'

/** The lines that the address names, and a way to name others. The page stays where it
 * is, and so does its history. */
export function useChosen(): [Range | undefined, (range: Range | undefined) => void] {
  const [range, setRange] = useState(() => parseRange(location.hash))
  useEffect(() => {
    const change = () => setRange(parseRange(location.hash))
    window.addEventListener('hashchange', change)
    return () => window.removeEventListener('hashchange', change)
  }, [])
  const choose = (next: Range | undefined) => {
    setRange(next)
    history.replaceState(history.state, '', next ? formatRange(next) : location.pathname + location.search)
  }
  return [range, choose]
}
