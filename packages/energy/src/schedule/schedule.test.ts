import { type CarbonForecastPoint, type CarbonProvider, SwiftError } from '@swift/spec'
import { describe, expect, it } from 'vitest'
import { CarbonGate } from './carbon-gate.ts'
import { chooseWindow } from './choose-window.ts'

const hour = 3_600_000

function hourly(...grams: number[]): CarbonForecastPoint[] {
  return grams.map((gramsPerKilowattHour, index) => ({
    startUnixMs: index * hour,
    endUnixMs: (index + 1) * hour,
    gramsPerKilowattHour,
  }))
}

describe('chooseWindow', () => {
  it('finds the window that trying every minute would find', () => {
    const forecast = hourly(300, 280, 120, 90, 100, 260, 310, 80, 300)
    for (const minutes of [10, 60, 90, 150, 200]) {
      const request = { fromUnixMs: 17 * 60_000, deadlineUnixMs: 8.5 * hour, durationMs: minutes * 60_000 }
      const chosen = chooseWindow(forecast, request)
      const mean = (start: number): number =>
        forecast.reduce((sum, { startUnixMs, endUnixMs, gramsPerKilowattHour }) => {
          const part = Math.min(endUnixMs, start + request.durationMs) - Math.max(startUnixMs, start)
          return sum + Math.max(0, part) * gramsPerKilowattHour
        }, 0) / request.durationMs
      let best = Infinity
      for (let start = request.fromUnixMs; start + request.durationMs <= request.deadlineUnixMs; start += 60_000) {
        best = Math.min(best, mean(start))
      }
      expect(chosen.gramsPerKilowattHour).toBeCloseTo(mean(chosen.startUnixMs), 6)
      expect(chosen.gramsPerKilowattHour).toBeLessThanOrEqual(best + 1e-6)
      expect(chosen.startUnixMs + request.durationMs).toBeLessThanOrEqual(request.deadlineUnixMs)
      expect(chosen.bestGramsPerKilowattHour).toBe(80)
    }
  })

  it('starts at once where waiting saves nothing, and refuses what does not fit', () => {
    expect(
      chooseWindow(hourly(100, 100, 200), { fromUnixMs: 5, deadlineUnixMs: 3 * hour, durationMs: hour }).startUnixMs,
    ).toBe(5)
    expect(() => chooseWindow(hourly(100), { fromUnixMs: 0, deadlineUnixMs: hour, durationMs: 2 * hour })).toThrow(
      SwiftError,
    )
    expect(() => chooseWindow([], { fromUnixMs: 0, deadlineUnixMs: hour, durationMs: 1 })).toThrow(SwiftError)
  })
})

describe('CarbonGate', () => {
  const provider = (answers: (number | Error)[]): CarbonProvider => ({
    id: 'scripted',
    doFactor: async (zone) => {
      const answer = answers.length > 1 ? answers.shift() : answers[0]
      if (answer instanceof Error || answer === undefined) throw answer ?? new Error('over')
      return { zone, gramsPerKilowattHour: answer, kind: 'location-average', source: '', validFor: '', licence: '' }
    },
  })
  const gate = (answers: (number | Error)[], more: object = {}): { gate: CarbonGate; codes: string[] } => {
    const codes: string[] = []
    const options = { provider: provider(answers), zone: 'DE', pauseAbove: 300, checkMs: 5, ...more }
    return { gate: new CarbonGate({ ...options, onEvent: ({ code }) => codes.push(code) }), codes }
  }

  it('pauses above and goes on below, with a border between', async () => {
    const { gate: held, codes } = gate([350, 290, 280, 260])
    await held.pass()
    expect(codes).toEqual(['NOTE_CARBON_PAUSE', 'NOTE_CARBON_RESUME'])
    expect(held.pausedMs).toBeGreaterThan(0)
    const { gate: open, codes: none } = gate([300])
    await open.pass()
    expect(none).toEqual([])
  })

  it('goes on when the pause is too long, when it is aborted, and when nobody answers', async () => {
    const { gate: long, codes } = gate([400], { longestPauseMs: 20 })
    await long.pass()
    expect(codes.at(-1)).toBe('NOTE_CARBON_RESUME')
    const controller = new AbortController()
    const { gate: aborted } = gate([400], { checkMs: 60_000 })
    setTimeout(() => controller.abort(), 10)
    await aborted.pass(controller.signal)
    const { gate: silent, codes: said } = gate([new Error('away')])
    await silent.pass()
    expect(said).toEqual(['WARN_CARBON_UNKNOWN'])
  })
})
