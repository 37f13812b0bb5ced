import { expect, it } from 'vitest'
import { placeCorrections } from './place-corrections.ts'

const columns = (...rows: readonly (readonly bigint[])[]) => rows.map((nanojoules) => ({ nanojoules: [...nanojoules] }))
const total = (values: readonly bigint[]): bigint => values.reduce((sum, value) => sum + value, 0n)
const byStretch = (made: readonly { readonly nanojoules: readonly bigint[] }[]): bigint[] =>
  (made[0]?.nanojoules ?? []).map((_, index) => total(made.map(({ nanojoules }) => nanojoules[index] ?? 0n)))

it('leaves what has no corrections alone', () => {
  const made = columns([1n, 2n, 3n], [4n, 5n, 6n])
  placeCorrections(made)
  expect(made).toEqual(columns([1n, 2n, 3n], [4n, 5n, 6n]))
})

it('puts a correction where the energy was, the latest first', () => {
  // 30 of the first account turn out to belong to the second.
  const made = columns([50n, 20n, -30n], [10n, 10n, 130n])
  placeCorrections(made)
  expect(made).toEqual(columns([40n, 0n, 0n], [20n, 30n, 100n]))
})

it('keeps every stretch and every account to the nanojoule', () => {
  const rows = [
    [101n, 7n, 99n, -53n, 12n, -60n],
    [3n, 50n, -40n, 31n, 17n, 80n],
    [0n, 11n, 3n, 77n, -20n, 41n],
  ]
  const made = columns(...rows)
  const stretches = byStretch(made)
  placeCorrections(made)
  expect(byStretch(made)).toEqual(stretches)
  expect(made.map(({ nanojoules }) => total(nanojoules))).toEqual(rows.map(total))
  expect(made.flatMap(({ nanojoules }) => nanojoules).filter((value) => value < 0n)).toEqual([])
})

it('leaves a loss that nothing before explains where it is', () => {
  const made = columns([5n, -8n], [1n, 9n])
  placeCorrections(made)
  expect(made[0]?.nanojoules).toEqual([0n, -3n])
  expect(byStretch(made)).toEqual([6n, 1n])
})
