import { cn } from '@/lib/cn'
import { exactMoney, money } from '@/lib/format'

/** An amount in millionths of a currency; the exact one on hover. */
export const Money = ({ micros, currency, exact, className }: { micros: number; currency: string; exact?: boolean; className?: string }) => (
  <span className={cn('num whitespace-nowrap', className)} title={exact ? undefined : exactMoney(micros, currency)}>
    {exact ? exactMoney(micros, currency) : money(micros, currency)}
  </span>
)
