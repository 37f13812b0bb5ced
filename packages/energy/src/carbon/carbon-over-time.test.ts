import { type CarbonFactorKind, type CarbonProvider, SwiftError } from '@swift/spec'
import { describe, expect, it } from 'vitest'
import { carbonOverTime } from './carbon-over-time.ts'

const hour = 3_600_000
const kilowattHour = 3_600_000_000_000_000n

function hourly(grams: (hour: number) => number, kind: (hour: number) => CarbonFactorKind = () => 'location-average') {
  const asked: number[] = []
  const provider: CarbonProvider = {
    id: 'hourly',
    doFactor: async (zone, when) => {
      const at = Math.floor(when.getTime() / hour)
      asked.push(at)
      return { zone, gramsPerKilowattHour: grams(at), kind: kind(at), source: '', validFor: String(at), licence: '' }
    },
  }
  return { provider, asked }
}

const stretch = (startUnixMs: number, endUnixMs: number, measured: bigint, modelled: bigint) => ({
  startUnixMs,
  endUnixMs,
  gains: [
    { energyClass: 'measured' as const, nanojoules: measured },
    { energyClass: 'modelled' as const, nanojoules: modelled },
  ],
})

describe('carbonOverTime', () => {
  it('joins each stretch with the factor of its time, class by class', async () => {
    const { provider } = hourly((at) => 100 * (at + 1))
    const stretches = [
      stretch(0, hour, kilowattHour, 0n),
      stretch(hour, 2 * hour, 2n * kilowattHour, kilowattHour),
      stretch(5 * hour, 6 * hour, kilowattHour, 0n),
    ]
    const carbon = await carbonOverTime(stretches, provider, 'DE', 1.5)
    expect(carbon.measuredGrams).toBeCloseTo(1.5 * (100 + 400 + 600), 9)
    expect(carbon.modelledGrams).toBeCloseTo(1.5 * 200, 9)
    expect(carbon.factors.map(({ validFor }) => validFor)).toEqual(['0', '1', '5'])
  })

  it('asks once for each five minutes, and takes back what is taken back', async () => {
    const { provider, asked } = hourly(() => 100)
    const stretches = Array.from({ length: 600 }, (_, second) => ({
      startUnixMs: second * 1000,
      endUnixMs: (second + 1) * 1000,
      gains: [{ energyClass: 'measured' as const, nanojoules: second % 2 === 0 ? 2n * kilowattHour : -kilowattHour }],
    }))
    const carbon = await carbonOverTime(stretches, provider, 'DE')
    expect(asked.length).toBe(2)
    expect(carbon.measuredGrams).toBeCloseTo(300 * 100, 6)
    expect(carbon.modelledGrams).toBeUndefined()
  })

  it('refuses to add an average to a marginal value', async () => {
    const { provider } = hourly(
      () => 100,
      (at) => (at === 0 ? 'location-average' : 'location-marginal'),
    )
    const call = carbonOverTime([stretch(0, 1, 1n, 0n), stretch(hour, hour + 1, 1n, 0n)], provider, 'DE')
    await expect(call).rejects.toBeInstanceOf(SwiftError)
    await expect(carbonOverTime([], provider, 'DE')).rejects.toBeInstanceOf(SwiftError)
  })
})
