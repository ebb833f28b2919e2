/** How amounts, sizes and times are written, everywhere in the app. */

const locale = 'en-US'
const formats = new Map<string, Intl.NumberFormat>()

function currencyFormat(currency: string, digits: number) {
  const key = `${currency}/${digits}`
  let format = formats.get(key)
  if (!format) {
    format = new Intl.NumberFormat(locale, {
      style: 'currency',
      currency,
      minimumFractionDigits: Math.min(2, digits),
      maximumFractionDigits: digits,
    })
    formats.set(key, format)
  }
  return format
}

/** Money from millionths, as exact as somebody who reads it needs: cents from 1 up,
 * smaller amounts with as many digits as make them different from nothing. */
export function money(micros: number, currency: string): string {
  const size = Math.abs(micros)
  const digits = size >= 1_000_000 || size === 0 ? 2 : size >= 10_000 ? 4 : 6
  return currencyFormat(currency, digits).format(micros / 1_000_000)
}

/** Money from millionths, to the last of them: for bills and statements. */
export const exactMoney = (micros: number, currency: string): string => currencyFormat(currency, 6).format(micros / 1_000_000)

const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB']

/** A number of bytes with its binary unit, such as 48.1 KiB. */
export function bytes(n: number): string {
  let unit = 0
  while (n >= 1024 && unit < units.length - 1) {
    n /= 1024
    unit++
  }
  const digits = unit === 0 || n >= 100 ? 0 : 1
  return `${trim(n.toFixed(digits))} ${units[unit]}`
}

/** Mebibytes as the API counts memory, such as 24 GiB. */
export const mebibytes = (mb: number): string => bytes(mb * 1024 * 1024)

/** The memory of a GPU, as its data sheet has it: drivers keep a little for themselves. */
export const vram = (mb: number): string => `${Math.round(mb / 1024)} GB`

/** A length of time in at most two units, such as 850 ms, 4 min 10 s, 2 h 5 min. */
export function duration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`
  if (ms < 10_000) return `${trim((ms / 1000).toFixed(1))} s`
  const s = Math.round(ms / 1000)
  const parts: [number, string][] = [
    [Math.floor(s / 86_400), 'd'],
    [Math.floor((s % 86_400) / 3600), 'h'],
    [Math.floor((s % 3600) / 60), 'min'],
    [s % 60, 's'],
  ]
  const first = parts.findIndex(([n]) => n > 0)
  return parts
    .slice(first, first + 2)
    .filter(([n]) => n > 0)
    .map(([n, unit]) => `${n} ${unit}`)
    .join(' ')
}

/** Minutes and seconds to wait, such as 0:42. */
export function countdown(seconds: number): string {
  const s = Math.max(0, Math.ceil(seconds))
  return `${Math.floor(s / 60)}:${String(s % 60).padStart(2, '0')}`
}

/** What the prices are between, such as $0.35 to $2.10. */
export const moneyRange = (least: number, most: number, currency: string): string =>
  least === most ? money(least, currency) : `${money(least, currency)} to ${money(most, currency)}`

/** A share from 0 to 1, such as 99.2 %. It never rounds up to 100. */
export function percent(share: number): string {
  const shown = Math.floor(share * 1000) / 10
  return `${trim(shown.toFixed(1))} %`
}

/** A count and what is counted, such as 1 CPU, 1,024 CPUs. */
export const counted = (n: number, thing: string): string => `${count(n)} ${thing}${n === 1 ? '' : 's'}`

/** A count with its thousands apart. */
export const count = (n: number): string => n.toLocaleString(locale)

const steps: [string, number][] = [
  ['d', 86_400],
  ['h', 3600],
  ['min', 60],
  ['s', 1],
]

/** How far a time is from now, such as 3 min ago, in 2 h. Under 10 seconds it is now. */
export function ago(time: number, now: number): string {
  const s = Math.round((time - now) / 1000)
  if (Math.abs(s) < 10) return 'now'
  const [unit, seconds] = steps.find(([, n]) => Math.abs(s) >= n) as [string, number]
  const far = `${Math.floor(Math.abs(s) / seconds)} ${unit}`
  return s < 0 ? `${far} ago` : `in ${far}`
}

const moment = new Intl.DateTimeFormat(locale, { dateStyle: 'medium', timeStyle: 'medium' })
const date = new Intl.DateTimeFormat(locale, { dateStyle: 'medium' })

/** Date and time where the reader is. */
export const dateTime = (time: number): string => moment.format(time)

/** The day where the reader is. */
export const day = (time: number): string => date.format(time)

const trim = (digits: string) => (digits.includes('.') ? digits.replace(/\.?0+$/, '') : digits)
