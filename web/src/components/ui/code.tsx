import { CopyButton } from './copy-button'

/** Lines for a terminal: where they are for, what copies them, and themselves, as wide as
 * they are. The label says to screen readers what they do. */
export const Code = ({ title, text, label, copy, className }: { title: string; text: string; label: string; copy: string; className?: string }) => (
  <figure className={className}>
    <div className="overflow-hidden rounded-lg border border-log-line bg-log text-log-text">
      <figcaption className="flex items-center justify-between border-b border-log-line py-1 pr-1.5 pl-3.5 text-[13px] text-log-muted">
        {title}
        <CopyButton text={`${text}\n`} label={copy} className="text-log-muted hover:bg-log-line hover:text-log-text" />
      </figcaption>
      {/* oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- what scrolls is reached by keyboard */}
      <pre tabIndex={0} aria-label={label} className="overflow-x-auto px-3.5 py-2.5 font-mono text-[13px] leading-6 outline-offset-[-2px]">
        {text}
      </pre>
    </div>
  </figure>
)
