import { useSyncExternalStore } from 'react'

/** What the user chose. */
export type Theme = 'light' | 'dark' | 'system'

const key = 'peergpu.theme' // public/theme.js reads it before anything is painted
const system = matchMedia('(prefers-color-scheme: dark)')
const listeners = new Set<() => void>()

function stored(): Theme {
  try {
    const value = localStorage.getItem(key)
    return value === 'light' || value === 'dark' ? value : 'system'
  } catch {
    return 'system'
  }
}

let state = { theme: stored(), dark: document.documentElement.dataset.theme === 'dark' }

function apply(theme: Theme) {
  const dark = theme === 'dark' || (theme === 'system' && system.matches)
  document.documentElement.dataset.theme = dark ? 'dark' : 'light'
  document.querySelector('meta[name=theme-color]')?.setAttribute('content', dark ? '#0c1116' : '#f8fafb')
  state = { theme, dark }
  for (const l of listeners) l()
}

system.addEventListener('change', () => apply(state.theme))
apply(state.theme)

/** Chooses a theme and keeps it. */
export function setTheme(theme: Theme) {
  try {
    if (theme === 'system') localStorage.removeItem(key)
    else localStorage.setItem(key, theme)
  } catch {
    // It holds until the page is left.
  }
  apply(theme)
}

const subscribe = (l: () => void) => {
  listeners.add(l)
  return () => void listeners.delete(l)
}

/** The theme chosen, and whether what is shown is dark. */
export const useTheme = () => useSyncExternalStore(subscribe, () => state)
