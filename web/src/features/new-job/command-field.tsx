import { CircleCheck, TriangleAlert } from 'lucide-react'
import { Field } from '@/components/ui/field'
import { Input } from '@/components/ui/input'
import type { Archive } from './zip'
import { shellOnly, splitCommand } from './command'
import { commandFile } from './zip'

/** The command, and how it is understood: no shell reads it. */
export function CommandField({
  value,
  error,
  archive,
  optional,
  onChange,
}: {
  value: string
  error: string | undefined
  archive: Archive | undefined
  optional: boolean
  onChange: (value: string) => void
}) {
  const { args = [] } = splitCommand(value)
  const shell = shellOnly(args)
  const file = archive && commandFile(args, archive)
  return (
    <div className="grid gap-2">
      <Field
        label="Command"
        error={error}
        hint={optional ? 'Empty: the image’s own.' : undefined}
        aside={<span className="text-[13px] text-muted">quotes work, no shell is involved</span>}
      >
        <Input
          value={value}
          onChange={(e) => onChange(e.target.value)}
          placeholder="python3 train.py --epochs 20"
          autoComplete="off"
          autoCapitalize="none"
          spellCheck={false}
          className="font-mono text-[13px]"
        />
      </Field>
      {args.length > 0 && (
        <ol aria-label="The arguments" className="flex flex-wrap gap-1">
          {args.map((a, i) => (
            // oxlint-disable-next-line react/no-array-index-key -- an argument is its place
            <li key={i} className="max-w-full rounded-xs bg-sunken px-1.5 py-0.5 font-mono text-xs break-all whitespace-pre-wrap ring-1 ring-line ring-inset">
              {a || <span className="text-muted italic">empty</span>}
            </li>
          ))}
        </ol>
      )}
      {shell.length > 0 && (
        <Note bad>
          <code className="font-mono">{shell[0]}</code> is given to the program as it is. If you want a shell, write{' '}
          <code className="font-mono">sh -c '…'</code>.
        </Note>
      )}
      {file &&
        (file.there ? (
          <Note>
            <code className="font-mono">{file.file}</code> is in the ZIP.
          </Note>
        ) : (
          <Note bad>
            <code className="font-mono">{file.file}</code> is not in the ZIP
            {file.elsewhere ? (
              <>
                , but <code className="font-mono">{file.elsewhere}</code> is. Use that path.
              </>
            ) : (
              '.'
            )}
          </Note>
        ))}
    </div>
  )
}

const Note = ({ bad, children }: { bad?: boolean; children: React.ReactNode }) => (
  <p className={`flex items-start gap-1.5 text-[13px] ${bad ? 'text-warning-text' : 'text-muted'}`}>
    {bad ? <TriangleAlert className="mt-0.5 size-3.5 shrink-0" aria-hidden /> : <CircleCheck className="mt-0.5 size-3.5 shrink-0 text-accent-text" aria-hidden />}
    <span>{children}</span>
  </p>
)
