import { describe, expect, it } from 'vitest'
import { addSplits, amountOf, unavailableSplit } from './amounts.ts'

describe('amounts', () => {
  it('round intervals outwards and never below zero', () => {
    expect(amountOf(1001n, 20n, 0n, 0n)).toEqual({ nanojoules: 1001n, lowNanojoules: 980n, highNanojoules: 1022n })
    expect(amountOf(10n, 500n, 100n, 3n)).toEqual({ nanojoules: 10n, lowNanojoules: 0n, highNanojoules: 18n })
  })

  it('add within a class, and leave what is unavailable unavailable', () => {
    const one = amountOf(1n, 0n, 0n, 0n)
    expect(addSplits({ measured: one, modelled: undefined }, { measured: one, modelled: undefined })).toEqual({
      measured: amountOf(2n, 0n, 0n, 0n),
      modelled: undefined,
    })
    expect(addSplits(unavailableSplit, unavailableSplit)).toEqual(unavailableSplit)
  })
})
