import { expect, test } from 'vitest'
import { joinCommand, shellOnly, splitCommand } from './command'

test.each([
  ['python3 train.py', ['python3', 'train.py']],
  ['  python3\ttrain.py  --lr 0.1 ', ['python3', 'train.py', '--lr', '0.1']],
  [`sh -c 'echo "a b"'`, ['sh', '-c', 'echo "a b"']],
  [`say "it's \\"so\\" \\n" ''`, ['say', `it's "so" \\n`, '']],
  [`a\\ b c"d e"'f'`, ['a b', 'cd ef']],
  ['', []],
])('%s is taken apart', (line, args) => {
  expect(splitCommand(line)).toEqual({ args })
})

test.each([[`echo 'a`], ['echo "a'], ['echo \\']])('%s is refused', (line) => {
  expect(splitCommand(line).error).toBeTruthy()
})

test('any arguments come back from their line', () => {
  let seed = 42
  const next = (n: number) => (seed = (seed * 1103515245 + 12345) % 2147483648) % n
  const letters = ['a', 'Z', '0', ' ', "'", '"', '\\', '$', '\n', '*', 'ü', '-']
  for (let round = 0; round < 500; round++) {
    const args = Array.from({ length: next(5) }, () => Array.from({ length: next(6) }, () => letters[next(letters.length)]).join(''))
    expect(splitCommand(joinCommand(args))).toEqual({ args })
  }
})

test('what only a shell would understand is found', () => {
  expect(shellOnly(['cat', 'x', '|', 'wc', '>', '$HOME', '${A}b', 'a|b'])).toEqual(['|', '>', '$HOME', '${A}b'])
})
