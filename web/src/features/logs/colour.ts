import { bold, dim, inverse, italic, rgb, underline, type Style } from './style'

// The colours log and log-text of index.css, in sRGB.
const background = 0x0c1217
const foreground = 0xdbe0e5

const contrast = 5 // WCAG asks for 4.5; marked lines stand on a somewhat lighter ground

const sixteen = [
  0x1b222b, 0xf2777a, 0x8fd07d, 0xe6c35c, 0x79b0f5, 0xd59df0, 0x66d0d8, 0xdbe0e5, 0x7d8a99, 0xff9da0, 0xb3e8a4, 0xf7dd8a, 0xa5ccff,
  0xe6c2fa, 0x9ae6ec, 0xffffff,
]

/** What a style is in CSS. */
export interface Look {
  color?: string
  backgroundColor?: string
  fontWeight?: number
  fontStyle?: 'italic'
  textDecoration?: 'underline'
}

const looks = new WeakMap<Style, Look>()

/** How to draw a style, legibly: a colour too close to what it stands on is moved away
 * from it, so that no text can hide. */
export function look(style: Style): Look {
  let made = looks.get(style)
  if (!made) {
    made = draw(style)
    looks.set(style, made)
  }
  return made
}

function draw({ fg, bg, flags }: Style): Look {
  let front = colour(fg, foreground)
  let back = colour(bg, background)
  if (flags & inverse) [front, back] = [back, front]
  if (flags & dim) front = mix(front, back, 0.4)
  front = readable(front, back)
  const made: Look = {}
  if (front !== foreground) made.color = css(front)
  if (back !== background) made.backgroundColor = css(back)
  if (flags & bold) made.fontWeight = 700
  if (flags & italic) made.fontStyle = 'italic'
  if (flags & underline) made.textDecoration = 'underline'
  return made
}

function colour(c: number, standard: number): number {
  if (c < 0) return standard
  if (c >= rgb) return c - rgb
  if (c < 16) return sixteen[c] ?? standard
  if (c >= 232) return (8 + (c - 232) * 10) * 0x010101
  const cube = c - 16
  return (level(Math.floor(cube / 36)) << 16) + (level(Math.floor(cube / 6) % 6) << 8) + level(cube % 6)
}

const level = (n: number) => (n === 0 ? 0 : 55 + n * 40)

/** The colour, or the nearest one towards white or black that can be read on another. */
export function readable(front: number, back: number): number {
  if (ratio(front, back) >= contrast) return front
  const goal = ratio(0xffffff, back) >= ratio(0, back) ? 0xffffff : 0
  for (let share = 0.1; share < 1; share += 0.1) {
    const mixed = mix(front, goal, share)
    if (ratio(mixed, back) >= contrast) return mixed
  }
  return goal
}

/** The contrast of two colours as WCAG counts it, from 1 to 21. */
export function ratio(a: number, b: number): number {
  const [low, high] = [luminance(a), luminance(b)].toSorted((x, y) => x - y) as [number, number]
  return (high + 0.05) / (low + 0.05)
}

function luminance(c: number): number {
  const part = (shift: number) => {
    const v = ((c >> shift) & 255) / 255
    return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4
  }
  return 0.2126 * part(16) + 0.7152 * part(8) + 0.0722 * part(0)
}

function mix(a: number, b: number, share: number): number {
  const part = (shift: number) => Math.round(((a >> shift) & 255) * (1 - share) + ((b >> shift) & 255) * share) << shift
  return part(16) + part(8) + part(0)
}

const css = (c: number) => `#${c.toString(16).padStart(6, '0')}`
