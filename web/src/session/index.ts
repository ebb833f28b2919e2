import { useSyncExternalStore } from 'react'
import { browser } from './browser'
import { SessionStore, type Who } from './store'

/** The session of this browser. */
export const session = new SessionStore(browser())

/** Who uses the app, kept up to date. */
export const useWho = (): Who => useSyncExternalStore(session.subscribe, session.who)

export type { User, Who } from './store'
