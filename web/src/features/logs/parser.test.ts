import { expect, test } from 'vitest'
import { LineParser, lineCap, type Line } from './parser'
import { bold, dim, italic, inverse, plain, rgb, sgr, underline } from './style'

function parse(text: string): Line[] {
  const lines: Line[] = []
  const parser = new LineParser()
  parser.read(text, 0, (l) => lines.push(l))
  return parser.begun ? [...lines, parser.tail()] : lines
}

const texts = (text: string) => parse(text).map((l) => l.text)

test.each([
  ['lines end at a line feed, with or without a carriage return', 'a\nb\r\nc', ['a', 'b', 'c']],
  ['empty lines are lines', '\n\na\n', ['', '', 'a']],
  ['a lone carriage return starts the line anew', '10%\r50%\r100%\ndone\n', ['100%', 'done']],
  ['a progress bar at rest shows its last state', '10%\r50%\r', ['50%']],
  ['a carriage return before the end of the line erases nothing', 'kept\r\r\n', ['kept']],
  ['a shorter state leaves nothing of a longer one', 'downloading\rok\n', ['ok']],
  ['going to the first column is a carriage return', '10%\u001b[1G20%\u001b[G30%\u001b[0G40%\n', ['40%']],
  ['erasing the line is a carriage return', '10%\u001b[2K20%\n', ['20%']],
  ['tabs go to the next eighth column', 'a\tb\n12345678\tc\n', ['a       b', '12345678        c']],
  ['what HTML would take for a tag is text', '<b>&amp;</b>\n', ['<b>&amp;</b>']],
])('%s', (_name, input, want) => expect(texts(input)).toEqual(want))

test.each([
  ['moving the cursor', 'a\u001b[10;20Hb\u001b[2Ac'],
  ['private modes', 'a\u001b[?25lb\u001b[>4;1mc'],
  ['a title, ended by BEL', 'a\u001b]0;title\u0007bc'],
  ['a link, ended by ST', 'a\u001b]8;;https://evil.example\u001b\\b\u001b]8;;\u001b\\c'],
  ['the clipboard', 'a\u001b]52;c;cm0gLXJm\u0007bc'],
  ['a device control string', 'a\u001bPq#0;2;0\u001b\\bc'],
  ['application, privacy and start of string', 'a\u001b_x\u001b\\b\u001b^y\u001b\\c\u001bXz\u001b\\'],
  ['character sets', 'a\u001b(Bb\u001b)0c'],
  ['single escapes', 'a\u001b7b\u001b8\u001bMc'],
  ['the same with eight bits', 'a\u009b31mb\u009d52;c;eA==\u009cc\u0085\u0090q\u009c'],
  ['control characters', 'a\u0000b\u0007\u0008\u000b\u000c\u007fc'],
  ['bidi overrides and isolates', 'a\u202eb\u202d\u202c\u2066\u2067\u2068\u2069\u200e\u200f\u061cc'],
  ['line separators, soft hyphens and byte order marks', '\ufeffa\u2028b\u2029\u00adc'],
  ['a sequence that another one interrupts', 'a\u001b[12\u001b[0mb\u001b]x\u001b[1mc'],
  ['intermediate bytes', 'a\u001b[1 qb\u001b#8c'],
])('%s leaves no trace', (_name, input) => expect(texts(input)).toEqual(['abc']))

test('a sequence that nobody ends does not swallow the next line', () => {
  expect(texts('a\u001b]52;c;never\nb\u001b[31\nc')).toEqual(['a', 'b', 'c'])
})

test('a character that cannot be part of a sequence is text', () => {
  expect(texts('\u001b[31\u{1f600}x\n\u001b\u{1f600}y')).toEqual(['\u{1f600}x', '\u{1f600}y'])
})

test('styles have their place in the text, and go on in the next line', () => {
  const [first, second, third] = parse('ok \u001b[1;31mbad\nstill\u001b[0m fine\nplain')
  expect(first?.spans).toEqual([{ at: 3, style: { fg: 1, bg: -1, flags: bold } }])
  expect(second?.spans).toEqual([
    { at: 0, style: { fg: 1, bg: -1, flags: bold } },
    { at: 5, style: plain },
  ])
  expect(third?.spans).toBeUndefined()
})

test.each([
  ['1;2;3;4;7', { fg: -1, bg: -1, flags: bold | dim | italic | underline | inverse }],
  ['35;46', { fg: 5, bg: 6, flags: 0 }],
  ['95;106', { fg: 13, bg: 14, flags: 0 }],
  ['38;5;208;48;5;16', { fg: 208, bg: 16, flags: 0 }],
  ['38;2;1;2;3', { fg: rgb + 0x010203, bg: -1, flags: 0 }],
  ['48:2::1:2:3', { fg: -1, bg: rgb + 0x010203, flags: 0 }],
  ['38:2:1:2:3', { fg: rgb + 0x010203, bg: -1, flags: 0 }],
  ['38:5:9;1', { fg: 9, bg: -1, flags: bold }],
  ['38;5;999;3', { fg: -1, bg: -1, flags: italic }],
  ['8;5;73', plain],
  ['4:3', { fg: -1, bg: -1, flags: underline }],
])('SGR %s', (params, want) => expect(sgr(plain, params)).toEqual(want))

test.each(['', '0', '39;49;22;23;24;27'])('SGR %j takes everything back', (params) => {
  const all = sgr(plain, '1;2;3;4;7;31;42')
  expect(sgr(all, params)).toBe(plain)
})

test('a line is cut at its cap, never within a character, and says by how much', () => {
  const [line] = parse(`${'x'.repeat(lineCap - 1)}\u{1f600}abc\n`)
  expect(line?.text).toHaveLength(lineCap - 1)
  expect(line?.over).toBe(5)
})

test('a progress bar that was too long once may be short again', () => {
  expect(parse(`${'x'.repeat(lineCap + 1)}\rshort`)).toMatchObject([{ text: 'short', over: 0 }])
})
