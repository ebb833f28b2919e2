import { FileArchive, FileUp, X } from 'lucide-react'
import { useId, useRef, useState } from 'react'
import { Button } from '@/components/ui/button'
import { FieldError } from '@/components/ui/field'
import { cn } from '@/lib/cn'
import { bytes, count, counted } from '@/lib/format'
import { readZip, ZipError, type Archive } from './zip'

/** A ZIP that was chosen and looks right. */
export interface Bundle {
  file: File
  archive: Archive
}

const shown = 200 // entries; the rest is counted

/** Where the ZIP is dropped or chosen. It is looked into before anything is sent. */
export function BundleDrop({
  bundle,
  error,
  onChange,
}: {
  bundle: Bundle | undefined
  error: string | undefined
  onChange: (bundle: Bundle | undefined) => void
}) {
  const [over, setOver] = useState(false)
  const [refused, setRefused] = useState<string>()
  const [reading, setReading] = useState(false)
  const input = useRef<HTMLInputElement>(null)
  const id = useId()
  const wrong = refused ?? error

  const take = async (file: File | undefined) => {
    if (!file) return
    setReading(true)
    setRefused(undefined)
    try {
      onChange({ file, archive: await readZip(file) })
    } catch (e) {
      onChange(undefined)
      setRefused(e instanceof ZipError ? e.message : 'The file cannot be read. Choose it again.')
    } finally {
      setReading(false)
      if (input.current) input.current.value = ''
    }
  }

  return (
    <div className="grid gap-1.5">
      <input
        ref={input}
        id={id}
        type="file"
        accept=".zip,application/zip"
        className="sr-only"
        tabIndex={-1}
        aria-label="ZIP of your code"
        onChange={(e) => void take(e.target.files?.[0])}
      />
      {bundle ? (
        <div className="rounded-lg border border-line bg-sunken">
          <div className="flex items-center gap-3 p-3">
            <FileArchive className="size-5 shrink-0 text-accent-text" aria-hidden />
            <div className="min-w-0 flex-1">
              <p className="truncate text-sm font-medium">{bundle.file.name}</p>
              <p className="num text-[13px] text-muted">
                {bytes(bundle.file.size)}, {counted(bundle.archive.entries.filter((e) => !e.folder).length, 'file')}, {bytes(bundle.archive.total)} unpacked
              </p>
            </div>
            <Button variant="secondary" size="small" onClick={() => input.current?.click()}>
              Replace
            </Button>
            <Button variant="quiet" size="icon" onClick={() => onChange(undefined)}>
              <X aria-hidden />
              <span className="sr-only">Remove the ZIP</span>
            </Button>
          </div>
          <details className="border-t border-line text-[13px]">
            <summary className="px-3 py-2 text-muted hover:text-text">What is in it</summary>
            {/* oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- a list that scrolls is reached by keyboard */}
            <ul tabIndex={0} aria-label="Files in the ZIP" className="max-h-52 overflow-y-auto px-3 pb-3 font-mono text-xs">
              {bundle.archive.entries.slice(0, shown).map((e) => (
                <li key={e.name} className="flex justify-between gap-4 py-0.5">
                  <span className="min-w-0 break-all">{e.folder ? `${e.name}/` : e.name}</span>
                  {!e.folder && <span className="shrink-0 text-muted">{bytes(e.size)}</span>}
                </li>
              ))}
              {bundle.archive.entries.length > shown && <li className="py-0.5 text-muted">and {count(bundle.archive.entries.length - shown)} more</li>}
            </ul>
          </details>
        </div>
      ) : (
        <button
          type="button"
          data-invalid={wrong ? true : undefined}
          aria-describedby={wrong ? `${id}-error` : undefined}
          onClick={() => input.current?.click()}
          onDragOver={(e) => {
            e.preventDefault()
            setOver(true)
          }}
          onDragLeave={() => setOver(false)}
          onDrop={(e) => {
            e.preventDefault()
            setOver(false)
            void take(e.dataTransfer.files[0])
          }}
          className={cn(
            'flex flex-col items-center gap-1 rounded-lg border border-dashed border-line-strong px-4 py-8 text-center transition-colors hover:bg-hover data-invalid:border-danger-text',
            over && 'border-accent-text bg-accent-soft',
          )}
        >
          <FileUp className="mb-1 size-5 text-muted" aria-hidden />
          <span className="text-sm font-medium">{reading ? 'Looking into it…' : 'Drop a ZIP here, or choose one'}</span>
          <span className="text-[13px] text-muted">It is unpacked into the working folder. Up to 10,000 files, no links.</span>
        </button>
      )}
      <FieldError id={`${id}-error`}>{wrong}</FieldError>
    </div>
  )
}
