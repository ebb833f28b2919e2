import { decimal } from '@/lib/decimal'

/** What a host keeps of a price: a share of hundredths of a percent is the platform's.
 * The settlement rounds in the same way, down for the platform. */
export const net = (micros: number, feeBps: number): number => micros - Math.floor((micros * feeBps) / 10_000)

/** A price as it is typed, in millionths; undefined where it is none. */
export function priceOf(text: string): number | undefined {
  const t = decimal(text)
  if (!/^\d{1,5}(\.\d{0,6})?$/.test(t)) return undefined
  const micros = Math.round(Number(t) * 1_000_000)
  return micros <= 10_000_000_000 ? micros : undefined
}

/** A price as it is typed. */
export const priceText = (micros: number): string => String(micros / 1_000_000)
