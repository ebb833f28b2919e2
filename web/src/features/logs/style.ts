/** How a run of text looks. Instances are never changed. */
export interface Style {
  /** A colour: -1 the default, 0 to 255 of the palette, or `rgb` plus 24 bits. */
  readonly fg: number
  readonly bg: number
  readonly flags: number
}

export const rgb = 0x1000000
export const bold = 1
export const dim = 2
export const italic = 4
export const underline = 8
export const inverse = 16

/** Text without any colour or weight of its own. */
export const plain: Style = { fg: -1, bg: -1, flags: 0 }

const switches: Record<number, [set: number, clear: number]> = {
  1: [bold, 0],
  2: [dim, 0],
  3: [italic, 0],
  4: [underline, 0],
  7: [inverse, 0],
  21: [underline, 0],
  22: [0, bold | dim],
  23: [0, italic],
  24: [0, underline],
  27: [0, inverse],
}

/** The style after the parameters of an SGR sequence (`1;38;5;208`). What it does not
 * know changes nothing; concealed text stays visible. */
export function sgr(style: Style, params: string): Style {
  let { fg, bg, flags } = style
  const list = params.split(';')
  for (let i = 0; i < list.length; i++) {
    const parts = (list[i] ?? '').split(':')
    const code = number(parts[0])
    if (code === 38 || code === 48) {
      const inline = parts.length > 1
      const [colour, used] = extended(inline ? parts.slice(1) : list.slice(i + 1), inline)
      if (!inline) i += used
      if (colour < 0) continue
      if (code === 38) fg = colour
      else bg = colour
      continue
    }
    if (code === 0) [fg, bg, flags] = [-1, -1, 0]
    else if (code === 4 && parts[1] === '0') flags &= ~underline
    else if (code === 39) fg = -1
    else if (code === 49) bg = -1
    else if (code >= 30 && code <= 37) fg = code - 30
    else if (code >= 40 && code <= 47) bg = code - 40
    else if (code >= 90 && code <= 97) fg = code - 82
    else if (code >= 100 && code <= 107) bg = code - 92
    else {
      const change = switches[code]
      if (change) flags = (flags | change[0]) & ~change[1]
    }
  }
  if (fg === -1 && bg === -1 && flags === 0) return plain
  return fg === style.fg && bg === style.bg && flags === style.flags ? style : { fg, bg, flags }
}

/** The colour that `5;n` or `2;r;g;b` names, or -1, and how many parameters it took.
 * With colons, a colour space may stand before r. */
function extended(rest: string[], colons: boolean): [number, number] {
  const kind = number(rest[0])
  if (kind === 5) {
    const n = number(rest[1])
    return [n <= 255 ? n : -1, 2]
  }
  if (kind !== 2) return [-1, 1]
  const at = colons && rest.length > 4 ? 2 : 1
  const [r, g, b] = [number(rest[at]), number(rest[at + 1]), number(rest[at + 2])]
  return [r <= 255 && g <= 255 && b <= 255 ? rgb + (r << 16) + (g << 8) + b : -1, 4]
}

const number = (s: string | undefined) => (s ? Number(s) : 0)
