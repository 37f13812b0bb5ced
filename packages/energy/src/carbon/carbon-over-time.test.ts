import { type CarbonFactorKind, type CarbonProvider, SwiftError } from '@swift/spec'
import { describe, expect, it } from 'vitest'
import type { LedgerGain } from '../read-series.ts'
import { accountKey, carbonOverTime, stretchesOf } from './carbon-over-time.ts'

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

function gain(path: string, nanojoules: bigint, energyClass: LedgerGain['energyClass'] = 'measured'): LedgerGain {
  return { source: energyClass === 'measured' ? 'rapl' : 'memory', energyClass, kind: 'phase', path, nanojoules }
}

const stretch = (startUnixMs: number, endUnixMs: number, measured: bigint, modelled: bigint) => ({
  startUnixMs,
  endUnixMs,
  gains: [gain('train', measured), gain('train', modelled, 'modelled')],
})

describe('carbonOverTime', () => {
  it('joins each stretch with the factor of its time, class by class', async () => {
    const { provider } = hourly((at) => 100 * (at + 1))
    const stretches = [
      stretch(0, hour, kilowattHour, 0n),
      stretch(hour, 2 * hour, 2n * kilowattHour, kilowattHour),
      stretch(5 * hour, 6 * hour, kilowattHour, 0n),
    ]
    const carbon = await carbonOverTime(stretches, provider, 'DE')
    expect(carbon.measuredGrams).toBeCloseTo(100 + 400 + 600, 9)
    expect(carbon.modelledGrams).toBeCloseTo(200, 9)
    expect(carbon.factors.map(({ validFor }) => validFor)).toEqual(['0', '1', '5'])
    // 5 kWh in all, each at the intensity of its hour.
    expect(carbon.factor).toMatchObject({ gramsPerKilowattHour: 1300 / 5, validFor: '0 … 5' })
  })

  it('asks once for each five minutes, and takes back what is taken back', async () => {
    const { provider, asked } = hourly(() => 100)
    const stretches = Array.from({ length: 600 }, (_, second) => ({
      startUnixMs: second * 1000,
      endUnixMs: (second + 1) * 1000,
      gains: [gain('train', second % 2 === 0 ? 2n * kilowattHour : -kilowattHour)],
    }))
    const carbon = await carbonOverTime(stretches, provider, 'DE')
    expect(asked.length).toBe(2)
    expect(carbon.measuredGrams).toBeCloseTo(300 * 100, 6)
    expect(carbon.modelledGrams).toBeUndefined()
  })

  it('leaves grams where they were spent when energy goes from account to account', async () => {
    const { provider } = hourly((at) => 100 * (at + 1))
    const part = { segment: 0, startedUnixMs: 0, endedUnixMs: hour, closed: true, moved: [] }
    const point = { part: 0, startUnixMs: 0, endUnixMs: hour, gains: [gain('a', 4n * kilowattHour)] }
    const moved = [gain('a', -3n * kilowattHour), gain('rework', 3n * kilowattHour)]
    const stretches = stretchesOf({
      parts: [part, { ...part, segment: 1, startedUnixMs: 9 * hour, moved }],
      points: [
        point,
        // 2 kWh of the hour, and half a kilowatt-hour that had been a's.
        {
          part: 1,
          startUnixMs: 9 * hour,
          endUnixMs: 10 * hour,
          gains: [gain('a', -kilowattHour / 2n), gain('b', (5n * kilowattHour) / 2n)],
        },
      ],
    })
    expect(stretches.map(({ startUnixMs }) => startUnixMs / hour)).toEqual([0, 9, 9])
    const { gramsByAccount, measuredGrams } = await carbonOverTime(stretches, provider, 'DE')
    const grams = (path: string): number | undefined => gramsByAccount.get(accountKey(gain(path, 0n)))
    expect(grams('a')).toBeCloseTo(50, 9)
    expect(grams('rework')).toBeCloseTo(300, 9)
    expect(grams('b')).toBeCloseTo(50 + 2 * 1000, 9)
    expect(measuredGrams).toBeCloseTo(400 + 2000, 9)
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
