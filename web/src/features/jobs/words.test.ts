import { expect, test } from 'vitest'
import { keeps } from './words'

test('one host is, several are', () => {
  expect(keeps('busy', 1)).toBe('is busy')
  expect(keeps('busy', 2)).toBe('are busy')
  expect(keeps('avoided', 1)).toBe('lost or declined this job before')
  expect(keeps('vram', 1)).toBe('has too little GPU memory')
})
