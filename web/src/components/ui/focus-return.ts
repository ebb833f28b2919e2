import { useRef } from 'react'

/** For the content of a Radix dialog: gives the focus back to what had it before, also
 * where no trigger opened the dialog, and unless something else has taken it by then. A
 * line of a menu is gone by then: its menu's button gets the focus. */
export function useFocusReturn() {
  const before = useRef<Element>(null)
  return {
    onOpenAutoFocus: () => {
      const menu = document.activeElement?.closest('[role=menu]')
      before.current = menu ? document.getElementById(menu.getAttribute('aria-labelledby') ?? '') : document.activeElement
    },
    onCloseAutoFocus: (event: Event) => {
      event.preventDefault()
      const lost = !document.activeElement || document.activeElement === document.body
      if (lost && before.current instanceof HTMLElement) before.current.focus()
    },
  }
}
