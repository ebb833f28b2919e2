import { useEffect, useState, type RefObject } from 'react'
import { count } from '@/lib/format'
import type { LogStore } from './store'

/** What a screen reader is told of a log that grows: a sentence, at most every 10
 * seconds. */
export function useSummary(store: LogStore): string {
  const [said, setSaid] = useState('')
  useEffect(() => {
    let told = store.last
    let epoch = store.epoch
    const timer = setInterval(() => {
      if (store.epoch !== epoch) [told, epoch] = [0, store.epoch]
      if (store.last === told) return
      setSaid(`${count(store.last - told)} new lines, ${count(store.last)} in all.`)
      told = store.last
    }, 10_000)
    return () => clearInterval(timer)
  }, [store])
  return said
}

/** A choice that this browser remembers, where it may. */
export function useRemembered<T extends string>(key: string, values: readonly T[], initial: T): [T, (value: T) => void] {
  const name = `peergpu.log.${key}`
  const [value, setValue] = useState<T>(() => values.find((v) => v === stored(name)) ?? initial)
  return [
    value,
    (next) => {
      setValue(next)
      try {
        localStorage.setItem(name, next)
      } catch {
        // Storage is forbidden: it lasts as long as the page.
      }
    },
  ]
}

function stored(name: string): string | null {
  try {
    return localStorage.getItem(name)
  } catch {
    return null
  }
}

/** Shows an element on all of the screen, or of the page where the browser does not. */
export function useFullScreen(element: RefObject<HTMLElement | null>): { full: 'no' | 'screen' | 'page'; toggle: () => void } {
  const [full, setFull] = useState<'no' | 'screen' | 'page'>('no')
  useEffect(() => {
    const change = () => setFull(document.fullscreenElement && document.fullscreenElement === element.current ? 'screen' : 'no')
    document.addEventListener('fullscreenchange', change)
    return () => document.removeEventListener('fullscreenchange', change)
  }, [element])
  useEffect(() => {
    if (full !== 'page') return
    const leave = (e: globalThis.KeyboardEvent) => {
      if (e.key === 'Escape') setFull('no')
    }
    document.addEventListener('keydown', leave)
    return () => document.removeEventListener('keydown', leave)
  }, [full])
  const toggle = () => {
    if (full === 'screen') void document.exitFullscreen()
    else if (full === 'page') setFull('no')
    else if (!element.current?.requestFullscreen) setFull('page')
    else element.current.requestFullscreen().catch(() => setFull('page'))
  }
  return { full, toggle }
}
