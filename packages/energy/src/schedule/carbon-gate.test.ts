import { type CarbonForecastPoint, type CarbonProvider, SwiftError } from '@swift/spec'
import { describe, expect, it } from 'vitest'
import { CarbonGate, type CarbonGateEvent, type CarbonGateOptions } from './carbon-gate.ts'
import { chooseStart, describeWindow } from './choose-start.ts'
import { parseDeadline, parseDuration } from './parse-times.ts'
import { type ScheduleClock, systemClock } from './schedule-clock.ts'

const hour = 3_600_000
const noon = Date.parse('2026-03-04T12:00:00Z')

/** Hours from noon on; beyond the last the last. */
function provider(hours: readonly number[], forecast: readonly number[] | 'none' = hours): CarbonProvider {
  const at = (list: readonly number[], unixMs: number): number =>
    list[Math.min(list.length - 1, Math.floor((unixMs - noon) / hour))] ?? 0
  const points = (forecast === 'none' ? [] : forecast).map((gramsPerKilowattHour, index): CarbonForecastPoint => ({
    startUnixMs: noon + index * hour,
    endUnixMs: noon + (index + 1) * hour,
    gramsPerKilowattHour,
  }))
  return {
    id: 'hours',
    doFactor: async (zone, when) => ({
      zone,
      gramsPerKilowattHour: at(hours, when.getTime()),
      kind: 'location-average',
      source: '',
      validFor: '',
      licence: '',
    }),
    ...(forecast === 'none' ? {} : { doForecast: async () => points }),
  }
}

/** Only waiting moves it. */
function clockAt(start: number): ScheduleClock & { waits: number[] } {
  let now = start
  const waits: number[] = []
  return {
    waits,
    now: () => now,
    sleep: async (milliseconds, signal) => {
      await new Promise((resolve) => setImmediate(resolve))
      if (signal?.aborted === true) return
      waits.push(milliseconds)
      now += milliseconds
    },
  }
}

function gateOf(
  carbon: CarbonProvider,
  more: Partial<CarbonGateOptions> = {},
): { gate: CarbonGate; events: CarbonGateEvent[]; clock: ReturnType<typeof clockAt> } {
  const events: CarbonGateEvent[] = []
  const clock = clockAt(noon)
  const gate = new CarbonGate({
    provider: carbon,
    zone: 'DE',
    pauseAbove: 300,
    clock,
    answerMs: 200,
    onEvent: (event) => events.push(event),
    ...more,
  })
  return { gate, events, clock }
}

const codesOf = (events: readonly CarbonGateEvent[]): string[] => events.map(({ code }) => code)

describe('CarbonGate with a forecast', () => {
  it('waits for the first clean hour, looks every five minutes, and says when, what and how much it saves', async () => {
    const { gate, events, clock } = gateOf(provider([400, 350, 100, 100]))
    let paused = 0
    expect(await gate.pass(undefined, async () => (paused += 1))).toBe(2 * hour)
    expect([paused, clock.now() - noon, gate.pausedMs]).toEqual([1, 2 * hour, 2 * hour])
    expect(Math.max(...clock.waits)).toBe(300_000)
    expect(events[0]).toMatchObject({
      code: 'NOTE_CARBON_PAUSE',
      gramsPerKilowattHour: 400,
      forecastGramsPerKilowattHour: 100,
      untilUnixMs: noon + 2 * hour,
      latestUnixMs: noon + 12 * hour,
    })
    expect(events[0]?.message).toContain(
      'waiting for a low-carbon window until 2026-03-04T14:00:00.000Z, forecast 100 g/kWh, saves about 75 %',
    )
    expect(events.slice(1).map(({ code, message }) => [code, message])).toEqual([
      ['NOTE_CARBON_RESUME', 'Goes on after a pause of 2.0 h: 100 g/kWh'],
    ])
  })

  it('goes on earlier where the grid is clean before its forecast, and looks anew where the forecast was wrong', async () => {
    const early = gateOf(provider([400, 100, 100, 100], [400, 400, 100, 100]))
    expect(await early.gate.pass()).toBe(hour)
    const late = gateOf(provider([400, 400, 400, 100], [400, 400, 100, 100]))
    expect(await late.gate.pass()).toBe(3 * hour)
  })

  it('takes the lowest hours where none is clean, and does not wait where waiting saves nothing', async () => {
    const lowest = gateOf(provider([600, 500, 320, 600]), { deadlineUnixMs: noon + 4 * hour })
    expect(await lowest.gate.pass(undefined, undefined, hour)).toBe(2 * hour)
    expect(lowest.events.at(-1)?.message).toContain('320 g/kWh, the lowest that was forecast')
    const flat = gateOf(provider([400, 400, 400, 395]), { deadlineUnixMs: noon + 4 * hour })
    expect(await flat.gate.pass(undefined, () => Promise.reject(new Error('no pause')), hour)).toBe(0)
    expect(codesOf(flat.events)).toEqual(['NOTE_CARBON_NO_CLEANER'])
    // Said once for one dirty stretch, not at every look.
    await flat.clock.sleep(hour)
    await flat.gate.pass(undefined, undefined, hour)
    expect(codesOf(flat.events)).toEqual(['NOTE_CARBON_NO_CLEANER'])
  })
})

describe('CarbonGate with a deadline', () => {
  it('goes on in time for what is left of the work', async () => {
    const { gate, events, clock } = gateOf(provider([400], 'none'), { deadlineUnixMs: noon + 4 * hour })
    expect(await gate.pass(undefined, undefined, 90 * 60_000)).toBe(2.5 * hour)
    expect(events[0]?.message).toContain('until 2026-03-04T14:30:00.000Z at the latest')
    expect(events.at(-1)?.message).toContain('the deadline leaves no more time')
    await clock.sleep(hour)
    expect(await gate.pass(undefined, undefined, hour)).toBe(0)
    expect(codesOf(events).at(-1)).toBe('WARN_CARBON_DEADLINE')
  })
})

describe('CarbonGate with a provider that fails', () => {
  it('goes on when it never answers: at first after a while, later without waiting for it', async () => {
    const silent = provider([400])
    let isSilent = true
    const asked: Date[] = []
    const { gate, events, clock } = gateOf({
      ...silent,
      doFactor: (zone, when) => {
        asked.push(when)
        return isSilent ? new Promise(() => undefined) : silent.doFactor(zone, when)
      },
    })
    expect(await gate.pass()).toBe(0)
    expect(codesOf(events)).toEqual(['WARN_CARBON_UNKNOWN'])
    expect(events[0]?.message).toContain('no answer within 0.2 s')
    // Told once for one outage.
    await clock.sleep(300_000)
    const enough = asked.length + 2
    while (asked.length < enough) {
      await gate.pass()
      await clock.sleep(300_000)
    }
    expect(codesOf(events)).toEqual(['WARN_CARBON_UNKNOWN'])
    isSilent = false
    while (gate.pausedMs === 0) {
      await clock.sleep(300_000)
      await gate.pass()
    }
    expect(codesOf(events)).toContain('NOTE_CARBON_PAUSE')
  })

  it('ends a pause when it fails in it, with the code of the error, and pauses without a forecast that fails', async () => {
    const error = new SwiftError({ code: 'ERR_CARBON_KEY', asked: 'a', found: 'the key is over', remedy: 'r' })
    const good = provider([400])
    // Flat hours are not waited for; where no forecast says that they are flat, they are.
    const blind = gateOf({ ...good, doForecast: () => Promise.reject(error) }, { longestPauseMs: hour })
    expect(await blind.gate.pass()).toBe(hour)
    expect(codesOf(blind.events)).toEqual(['WARN_CARBON_UNKNOWN', 'NOTE_CARBON_PAUSE', 'NOTE_CARBON_RESUME'])
    expect(blind.events.at(-1)?.message).toContain('the longest pause of 60 min is over')
    let isBroken = false
    const falling = gateOf(
      { ...provider([400, 100]), doFactor: (...call) => (isBroken ? Promise.reject(error) : good.doFactor(...call)) },
      {
        onCheck: () => {
          isBroken = true
        },
      },
    )
    expect(await falling.gate.pass()).toBe(300_000)
    expect(codesOf(falling.events)).toEqual(['NOTE_CARBON_PAUSE', 'WARN_CARBON_UNKNOWN', 'NOTE_CARBON_RESUME'])
    expect(falling.events[1]?.message).toContain('ERR_CARBON_KEY the key is over')
  })

  it('does not begin a pause, and ends one at once, when it is aborted', async () => {
    const before = new AbortController()
    before.abort()
    const { gate, events } = gateOf(provider([400, 100]))
    expect(await gate.pass(before.signal, () => Promise.reject(new Error('no pause')))).toBe(0)
    expect(events).toEqual([])
    const within = new AbortController()
    const { gate: real } = gateOf(provider([400], 'none'), { clock: systemClock })
    const started = performance.now()
    setTimeout(() => within.abort(), 30)
    await real.pass(within.signal)
    expect(performance.now() - started).toBeLessThan(60_000)
  })
})

describe('chooseStart', () => {
  it('describes what it saves, and refuses a provider without a forecast', async () => {
    const request = { fromUnixMs: noon, deadlineUnixMs: noon + 4 * hour, durationMs: hour }
    const window = await chooseStart(provider([400, 350, 100, 100]), 'DE', request)
    expect(window.startUnixMs).toBe(noon + 2 * hour)
    expect(describeWindow(window)).toBe('forecast 100 g/kWh instead of 400 g/kWh now (75 % less)')
    const code = await chooseStart(provider([1], 'none'), 'DE', request).catch((error: unknown) =>
      SwiftError.isInstance(error) ? error.code : String(error),
    )
    expect(code).toBe('ERR_CARBON_FORECAST')
  })
})

describe('times', () => {
  it('are lengths or instants, and nothing else', () => {
    expect([parseDuration('2h'), parseDuration('1.5m'), parseDuration('30s')]).toEqual([2 * hour, 90_000, 30_000])
    expect(parseDeadline('8h', noon)).toBe(noon + 8 * hour)
    expect(parseDeadline('2026-03-04T13:00:00Z', noon)).toBe(noon + hour)
    expect(parseDeadline('2026-03-04T11:00:00Z', noon, true)).toBe(noon - hour)
    for (const text of ['0h', 'long', '-1h', '']) expect(() => parseDuration(text), text).toThrow(SwiftError)
    for (const text of ['0h', 'soon', '2026-03-04T11:00:00Z']) {
      expect(() => parseDeadline(text, noon), text).toThrow(SwiftError)
    }
    expect(() => parseDeadline('soon', noon, true)).toThrow(SwiftError)
  })
})
