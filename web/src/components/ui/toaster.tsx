import { Toaster as Sonner } from 'sonner'
import { useTheme } from '@/app/theme'

/** Loaded by toast.tsx alone. */
export default function Toaster() {
  const { dark } = useTheme()
  return (
    <Sonner
      theme={dark ? 'dark' : 'light'}
      position="bottom-right"
      toastOptions={{
        style: { background: 'var(--surface)', color: 'var(--text)', border: '1px solid var(--line)', borderRadius: 12, fontFamily: 'inherit' },
      }}
    />
  )
}
