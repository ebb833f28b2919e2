/** What a line of a command means: its arguments, or why it means nothing. */
export type Split = { args: string[]; error?: undefined } | { args?: undefined; error: string }

const operators = /^(?:\||\|\||&&?|;|>>?|<)$/

/** Takes a command line apart as a POSIX shell quotes (spaces, '…', "…", \), and does
 * nothing else that a shell does: no variables, no patterns, no pipes. */
export function splitCommand(line: string): Split {
  const args: string[] = []
  let word: string | undefined
  let quote = ''
  for (let i = 0; i < line.length; i++) {
    const c = line[i] as string
    if (quote === "'") {
      if (c === "'") quote = ''
      else word += c
    } else if (c === '\\') {
      const next = line[++i]
      if (next === undefined) return { error: 'The last character is a backslash: what does it stand before?' }
      // Within "…" a backslash is itself, except before what it can stand for.
      word = (word ?? '') + (quote && !'"\\$`'.includes(next) ? `\\${next}` : next)
    } else if (quote) {
      if (c === '"') quote = ''
      else word += c
    } else if (c === '"' || c === "'") {
      quote = c
      word ??= ''
    } else if (/\s/.test(c)) {
      if (word !== undefined) args.push(word)
      word = undefined
    } else {
      word = (word ?? '') + c
    }
  }
  if (quote) return { error: `A quotation that begins with ${quote} does not end.` }
  if (word !== undefined) args.push(word)
  return { args }
}

/** The line that splitCommand takes apart into these arguments. */
export const joinCommand = (args: string[]): string => args.map(quoted).join(' ')

/** One argument as a shell reads it. */
export const quoted = (arg: string): string => (/^[\w@%+=:,./-]+$/.test(arg) ? arg : `'${arg.replaceAll("'", `'\\''`)}'`)

/** The arguments that only a shell would understand, for a warning. */
export const shellOnly = (args: string[]): string[] => args.filter((a) => operators.test(a) || /^\$\w|\$\{/.test(a))
