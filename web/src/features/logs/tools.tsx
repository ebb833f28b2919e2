import { CaseSensitive, Clock, Download, ListFilter, Maximize2, Minimize2, WrapText } from 'lucide-react'
import { counted } from '@/lib/format'
import { Menu, MenuChoice, MenuItem } from './menu'
import type { Times } from './times'
import { Tool } from './tool'

interface Props {
  caseSensitive: boolean
  onCase: (on: boolean) => void
  filter: boolean
  onFilter: (on: boolean) => void
  times: Times
  onTimes: (times: Times) => void
  wrap: boolean
  onWrap: (on: boolean) => void
  /** How many lines are shown. */
  lines: number
  onDownload: () => void
  onSave: () => void
  onCopy: () => void
  full: boolean
  onFull: () => void
}

const timeChoices = [
  { value: 'off', label: 'No times' },
  { value: 'relative', label: 'Since the start' },
  { value: 'utc', label: 'Time of day, UTC' },
] as const

/** How the log is shown, and ways to take it along. */
export function Tools(p: Props) {
  return (
    <div className="flex items-center gap-0.5 max-sm:grow max-sm:justify-between">
      <Tool icon={CaseSensitive} label="Match case" aria-pressed={p.caseSensitive} onClick={() => p.onCase(!p.caseSensitive)} />
      <Tool icon={ListFilter} label="Show matching lines alone" aria-pressed={p.filter} onClick={() => p.onFilter(!p.filter)} />
      <Menu trigger={<Tool icon={Clock} label="Times" />}>
        <MenuChoice label="Time of each line" value={p.times} options={timeChoices} onChange={p.onTimes} />
      </Menu>
      <Tool icon={WrapText} label="Wrap long lines" aria-pressed={p.wrap} onClick={() => p.onWrap(!p.wrap)} />
      <Menu trigger={<Tool icon={Download} label="Copy or download" />}>
        <MenuItem onSelect={p.onDownload}>Download the whole log</MenuItem>
        <MenuItem disabled={p.lines === 0} onSelect={p.onSave}>
          Download what is shown · {counted(p.lines, 'line')}
        </MenuItem>
        <MenuItem disabled={p.lines === 0} onSelect={p.onCopy}>
          Copy what is shown
        </MenuItem>
      </Menu>
      <Tool icon={p.full ? Minimize2 : Maximize2} label={p.full ? 'Leave full screen' : 'Full screen'} onClick={p.onFull} />
    </div>
  )
}
