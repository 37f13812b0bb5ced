import { describe, expect, it } from 'vitest'
import type { EnergyAmount } from '@swift/spec'
import { amountOf } from './amounts.ts'
import {
  combineLabelled,
  formatCarbonSplit,
  formatEnergySplit,
  formatJoulesPerToken,
  formatKilowattHours,
  toKilowattHours,
} from './format.ts'

const joule = 1_000_000_000n
const amount = (joules: bigint, permille = 0n): EnergyAmount => amountOf(joules * joule, permille, 0n, 0n)

describe('formatting energy', () => {
  it('converts to kWh at the edge, with the interval', () => {
    expect(formatKilowattHours(amount(3_600_000n, 400n))).toBe('1 kWh [0.6–1.4]')
    expect(toKilowattHours(3_600_000n * joule)).toBe(1)
    expect(formatKilowattHours(amount(1n), { interval: false })).toBe('0.000000278 kWh')
  })

  it('keeps measured and modelled apart', () => {
    const split = { measured: amount(36_000_000n), modelled: amount(3_600_000n) }
    expect(formatEnergySplit(split, { interval: false })).toBe('10 kWh measured + 1 kWh modelled')
    expect(formatEnergySplit({ measured: undefined, modelled: amount(5n) }, { unit: 'J', interval: false })).toBe(
      '5 J modelled',
    )
  })

  it('says unavailable, never zero', () => {
    expect(formatEnergySplit({ measured: undefined, modelled: undefined })).toBe('unavailable')
    expect(formatJoulesPerToken({ measured: amount(5n), modelled: undefined }, 0)).toBe('unavailable')
    expect(formatCarbonSplit({ measured: undefined, modelled: undefined })).toBe('unavailable')
    expect(combineLabelled({ measured: undefined, modelled: undefined })).toBeUndefined()
  })

  it('gives joules per token with the label', () => {
    expect(formatJoulesPerToken({ measured: undefined, modelled: amount(100n, 400n) }, 1000)).toBe(
      '0.1 J/token [0.06–0.14] modelled',
    )
  })

  it('gives carbon in one unit for both classes', () => {
    const carbon = (grams: number) => ({ grams, lowGrams: grams / 2, highGrams: 2 * grams })
    const options = { interval: false }
    expect(formatCarbonSplit({ measured: carbon(1850), modelled: carbon(20) }, options)).toBe(
      '1.85 kgCO2e measured + 0.02 kgCO2e modelled',
    )
    expect(formatCarbonSplit({ measured: undefined, modelled: carbon(0.0123) })).toBe(
      '12.3 mgCO2e [6.15–24.6] modelled',
    )
    expect(formatCarbonSplit({ measured: carbon(9.88e-6), modelled: undefined }, options)).toBe('9.88 µgCO2e measured')
    expect(formatCarbonSplit({ measured: carbon(0), modelled: undefined }, options)).toBe('0 gCO2e measured')
  })

  it('adds classes only with a label', () => {
    expect(combineLabelled({ measured: amount(2n), modelled: amount(3n) })).toEqual({
      amount: amount(5n),
      label: 'measured + modelled',
    })
    expect(combineLabelled({ measured: amount(2n), modelled: undefined })?.label).toBe('measured')
  })
})
