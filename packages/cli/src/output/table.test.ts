import { expect, it } from 'vitest'
import { formatTable } from './table.ts'

it('aligns columns of numbers to the right and all others to the left', () => {
  const rows = [
    ['loss', '0.5', 'nats'],
    ['accuracy', '98.2 %', ''],
  ]
  expect(formatTable(rows)).toBe('loss         0.5  nats\naccuracy  98.2 %')
})

it('keeps a column of text to the left when a cell looks like a number', () => {
  expect(
    formatTable([
      ['last loss', '0.0046'],
      ['steps', '400 of 400'],
    ]),
  ).toBe('last loss  0.0046\nsteps      400 of 400')
})
