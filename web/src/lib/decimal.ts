/** A number as it is typed, for Number: a comma may stand for the decimal point. One that
 * may stand between thousands as well, as in 1,000, stays, and makes it no number. */
export function decimal(text: string): string {
  const t = text.trim()
  return /^(0|\d{4,})?,\d+$|^\d*,(\d{1,2}|\d{4,})$/.test(t) ? t.replace(',', '.') : t
}

/** What to say of a text that is no number. */
export const noNumber = (text: string, otherwise: string): string => (text.includes(',') ? 'Write it without a comma between thousands, such as 1000.' : otherwise)
