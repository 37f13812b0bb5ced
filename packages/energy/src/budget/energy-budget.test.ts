import { type EnergySplit, SwiftError } from '@swift/spec'
import { describe, expect, it } from 'vitest'
import { EnergyBudget } from './energy-budget.ts'
import { parseBudget } from './parse-budget.ts'

function joules(measured: number | undefined, modelled?: number): EnergySplit {
  const amount = (value: number | undefined) => {
    if (value === undefined) return undefined
    const nanojoules = BigInt(Math.round(value * 1e9))
    return { nanojoules, lowNanojoules: nanojoules, highNanojoules: nanojoules }
  }
  return { measured: amount(measured), modelled: amount(modelled) }
}

describe('parseBudget', () => {
  it('reads every unit, soft and hard', () => {
    const limits = parseBudget('soft 0.4kWh, 0.5 kWh, 2MJ, 300gCO2e, 2EUR@0.30, 0.02J/token')
    expect(limits.map(({ kind, quantity, limit }) => [kind, quantity, limit])).toEqual([
      ['soft', 'joules', 1.44e6],
      ['hard', 'joules', 1.8e6],
      ['hard', 'joules', 2e6],
      ['hard', 'grams', 300],
      ['hard', 'money', 2],
      ['hard', 'joulesPerToken', 0.02],
    ])
  })

  it('refuses what it does not understand', () => {
    for (const text of ['', '5', '5 horsepower', '-1kWh', '0kWh', '2EUR', 'kWh', 'hard 5kWh']) {
      expect(() => parseBudget(text), text).toThrow(SwiftError)
    }
  })
})

describe('EnergyBudget', () => {
  it('tells soft and hard limits once, and counts measured and modelled energy together, saying so', () => {
    const budget = EnergyBudget.parse('soft 100J, 200J')
    expect(budget.observe({ energy: joules(60, 30) })).toEqual([])
    const [soft] = budget.observe({ energy: joules(60, 50) })
    expect(soft).toMatchObject({ kind: 'soft', code: 'WARN_ENERGY_BUDGET_SOFT', value: 110 })
    expect(soft?.message).toContain('measured + modelled')
    expect(budget.spent).toBeUndefined()
    expect(budget.observe({ energy: joules(60, 60) })).toEqual([])
    expect(budget.observe({ energy: joules(150, 50) }).map(({ kind }) => kind)).toEqual(['hard'])
    expect(budget.spent?.code).toBe('ERR_ENERGY_BUDGET_SPENT')
    expect(budget.observe({ energy: joules(500) })).toEqual([])
  })

  it('counts grams, money and joules per token', () => {
    const spentAt = (text: string, tokens: number, grams = 500): number => {
      const budget = EnergyBudget.parse(text, { gramsPerKilowattHour: grams })
      for (let kiloJoules = 1; kiloJoules < 1e5; kiloJoules *= 1.01) {
        budget.observe({ energy: joules(kiloJoules * 1000), tokens })
        if (budget.spent !== undefined) return kiloJoules
      }
      return Number.NaN
    }
    // 500 g is one kWh, 2 EUR at 0.5 are four, 3 J/token over 10^6 tokens are 3 MJ; steps of 1 %.
    expect(spentAt('500gCO2e', 1)).toBeCloseTo(3600, -2)
    expect(spentAt('2EUR@0.5', 1)).toBeCloseTo(14_400, -3)
    expect(spentAt('3J/token', 1e6)).toBeCloseTo(3000, -2)
    expect(EnergyBudget.parse('3J/token').observe({ energy: joules(1e9) })).toEqual([])
  })

  it('says nothing where energy is unavailable', () => {
    expect(EnergyBudget.parse('1J').observe({ energy: joules(undefined) })).toEqual([])
  })

  it('forecasts from the slope after the warm-up, with an interval that holds the truth', () => {
    const budget = EnergyBudget.parse('1000J')
    const events = []
    // A first step that costs as much as thirty, then 12 J a step: 90 steps end at 1,428 J.
    for (let step = 1; step <= 60; step++) {
      const wobble = 3 * Math.sin(step * 1.7)
      events.push(...budget.observe({ energy: joules(360 + 12 * (step - 1) + wobble), step, totalSteps: 90 }))
    }
    const first = events[0]
    expect(first).toMatchObject({ kind: 'forecast', code: 'WARN_ENERGY_BUDGET_FORECAST' })
    expect(events.map(({ kind }) => kind)).toEqual(['forecast', 'hard'])
    const [{ forecast } = { forecast: undefined }] = budget.forecast(90)
    expect(forecast?.low).toBeLessThanOrEqual(1428)
    expect(forecast?.high).toBeGreaterThanOrEqual(1428)
    expect(forecast?.value).toBeGreaterThan(1380)
    expect(forecast?.value).toBeLessThan(1480)
  })

  it('does not forecast what the interval leaves open', () => {
    const budget = EnergyBudget.parse('1000J')
    const events = []
    for (let step = 1; step <= 40; step++) {
      events.push(...budget.observe({ energy: joules(10 * step), step, totalSteps: 99 }))
    }
    expect(events).toEqual([])
  })
})
