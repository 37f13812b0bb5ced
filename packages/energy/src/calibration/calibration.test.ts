import { SwiftError } from '@swift/spec'
import { describe, expect, it } from 'vitest'
import { applyCalibration, fitCalibration } from './calibration.ts'
import { WallMeterLog } from './wall-meter-log.ts'

describe('fitCalibration', () => {
  const sample = (watts: number, seconds: number) => ({
    seconds,
    measuredJoules: watts * seconds,
    wallJoules: (1.12 * watts + 35) * seconds,
  })

  it('finds gain and offset, and names itself by its data', () => {
    const calibration = fitCalibration([sample(20, 60), sample(90, 30), sample(180, 45)], 0)
    expect(calibration.gain).toBeCloseTo(1.12, 9)
    expect(calibration.offsetWatts).toBeCloseTo(35, 6)
    expect(calibration.relativeResidual).toBeLessThan(1e-9)
    expect(fitCalibration([sample(20, 60), sample(90, 30), sample(180, 45)], 1).id).toBe(calibration.id)
    expect(fitCalibration([sample(21, 60), sample(90, 30), sample(180, 45)], 0).id).not.toBe(calibration.id)
  })

  it('refuses one power, and too few stretches', () => {
    for (const samples of [[sample(20, 60), sample(90, 30)], [sample(50, 10), sample(50, 20), sample(51, 30)], []]) {
      expect(() => fitCalibration(samples)).toThrow(SwiftError)
    }
  })

  it('changes measured energy only', () => {
    const amount = { nanojoules: 1_000_000n, lowNanojoules: 980_000n, highNanojoules: 1_020_000n }
    const calibration = {
      ...fitCalibration([sample(20, 60), sample(90, 30), sample(180, 45)], 0),
      relativeResidual: 0.01,
    }
    expect(applyCalibration({ measured: amount, modelled: amount }, calibration)).toEqual({
      measured: { nanojoules: 1_120_000n, lowNanojoules: 1_097_600n, highNanojoules: 1_142_400n },
      modelled: amount,
    })
  })
})

describe('WallMeterLog', () => {
  it('integrates power between two instants, and says nothing across a hole', () => {
    const log = WallMeterLog.parse('unix_seconds,watts\n0,100\n10,200\n20,200\n200,100\n', 'meter.csv')
    expect(log.joules(0, 10_000)).toBe(1500)
    expect(log.joules(5000, 15_000)).toBe(((150 + 200) / 2) * 5 + 1000)
    expect(log.joules(15_000, 100_000)).toBeUndefined()
    expect(log.joules(-1000, 5000)).toBeUndefined()
    expect(log.joules(150_000, 300_000)).toBeUndefined()
  })

  it('reads ISO times, and names the line that is wrong', () => {
    const log = WallMeterLog.parse('time, watts\r\n2026-01-01T00:00:00Z,50\r\n2026-01-01T00:00:02Z,50\r\n', 'm')
    const start = Date.parse('2026-01-01T00:00:00Z')
    expect(log.joules(start, start + 2000)).toBe(100)
    expect(() => WallMeterLog.parse('unix_ms,watts\n1,5\n1,6\n', 'm')).toThrow(/line 3/)
    expect(() => WallMeterLog.parse('unix_ms,watts\n1,-5\n2,6\n', 'm')).toThrow(/line 2/)
    expect(() => WallMeterLog.parse('a,b\n1,2\n', 'm')).toThrow(/columns/)
  })
})
