const narrow = /^[\u0020-\u024f]*$/
const none = /^(?:\p{Mn}|\p{Me}|[\u200b\u200c\u2060]|\u200d)$/u // variation selectors are Mn
const wide =
  /^[\u1100-\u115f\u231a\u231b\u23e9-\u23ec\u2614\u2615\u26a1\u2705\u274c\u2728\u2b50\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{1f300}-\u{1f64f}\u{1f680}-\u{1f6ff}\u{1f900}-\u{1faff}\u{20000}-\u{3fffd}]$/u

/** How many cells of a monospaced grid a text takes. */
export function cells(text: string): number {
  if (narrow.test(text)) return text.length
  let sum = 0
  for (const c of text) sum += width(c)
  return sum
}

/** How many rows of so many cells a text takes: a wide character that no longer fits
 * stands on the next row. */
export function rowCount(text: string, length: number, columns: number): number {
  if (length <= columns) return 1
  if (length === text.length) return Math.ceil(length / columns)
  let count = 1
  let used = 0
  for (const c of text) {
    const w = width(c)
    if (used + w > columns) {
      count++
      used = 0
    }
    used += w
  }
  return count
}

function width(c: string): number {
  if (c <= '\u024f') return 1
  return none.test(c) ? 0 : wide.test(c) ? 2 : 1
}
