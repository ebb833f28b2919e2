/** Whether the viewer keeps to the end of the log, and where it was last seen. */
export interface Follow {
  on: boolean
  /** The scroll position last seen or set, in px. */
  top: number
}

const near = 4 // px that count as the end; zoom makes positions uneven

/** What a scroll event means: up is away from the end, down to the very end is back to
 * following. A position that the viewer set itself means nothing. */
export function scrolled(f: Follow, top: number, bottom: number): Follow {
  if (Math.abs(top - f.top) < 1) return f
  if (top < f.top) return { on: f.on && bottom - top < near, top }
  return { on: f.on || bottom - top < near, top }
}

/** How far keys move, in px, or where to; undefined for other keys. */
export function keyed(key: string, view: number, row: number): number | 'top' | 'bottom' | undefined {
  switch (key) {
    case 'ArrowDown':
      return row
    case 'ArrowUp':
      return -row
    case 'PageDown':
      return view - row
    case 'PageUp':
      return row - view
    case 'Home':
      return 'top'
    case 'End':
      return 'bottom'
    default:
      return undefined
  }
}
