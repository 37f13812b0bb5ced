import { SwiftError } from '@swift/spec'
import { describe, expect, it } from 'vitest'
import { largestRemainder } from './largest-remainder.ts'
import { RequestLedger } from './request-ledger.ts'
import { fitRequestWeights, type RequestWork } from './request-weights.ts'

/** Numbers from 0 to 1, the same in every run (mulberry32). */
function sequence(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d_2b_79_f5) >>> 0
    let value = Math.imul(state ^ (state >>> 15), 1 | state)
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value
    return ((value ^ (value >>> 14)) >>> 0) / 4_294_967_296
  }
}

const sum = (parts: readonly bigint[]): bigint => parts.reduce((left, right) => left + right, 0n)

describe('largestRemainder', () => {
  it('adds up for every weight, and no part is further than a unit from its share', () => {
    const next = sequence(1)
    for (let round = 0; round < 2000; round++) {
      const weights = Array.from({ length: 1 + Math.floor(next() * 12) }, () => (next() < 0.2 ? 0 : next() ** 8 * 1e9))
      const total = BigInt(Math.floor(next() * 2 ** 53)) * (next() < 0.5 ? 1n : 1_000_003n)
      const parts = largestRemainder(total, weights)
      expect(sum(parts)).toBe(total)
      const whole = weights.reduce((left, right) => left + right, 0)
      for (const [index, part] of parts.entries()) {
        expect(part).toBeGreaterThanOrEqual(0n)
        if (whole > 0) {
          const share = Number(total) * ((weights[index] ?? 0) / whole)
          expect(Math.abs(Number(part) - share)).toBeLessThanOrEqual(1 + Number(total) * 1e-14)
        }
      }
    }
  })

  it('divides evenly without weights, and gives the rest to the first', () => {
    expect(largestRemainder(10n, [0, 0, 0])).toEqual([4n, 3n, 3n])
    expect(largestRemainder(10n, [])).toEqual([])
    expect(largestRemainder(1n, [1, 1])).toEqual([1n, 0n])
  })
})

const truth = { newToken: 40e6, newTokenContext: 3e3, promptToken: 2e6, promptTokenContext: 150, step: 900e6 }

function randomWork(next: () => number, count: number): RequestWork[] {
  return Array.from({ length: count }, (_, index) => {
    const isPrompt = next() < 0.3
    return {
      id: `r${index}`,
      promptTokens: isPrompt ? 1 + Math.floor(next() * 512) : 0,
      newTokens: isPrompt ? 0 : 1,
      contextTokens: Math.floor(next() * 4096),
    }
  })
}

function cost(work: readonly RequestWork[]): number {
  return work.reduce(
    (total, { promptTokens, newTokens, contextTokens }) =>
      total +
      newTokens * (truth.newToken + truth.newTokenContext * contextTokens) +
      promptTokens * (truth.promptToken + truth.promptTokenContext * contextTokens),
    truth.step,
  )
}

describe('fitRequestWeights', () => {
  it('finds the weights that made the steps, and says how well', () => {
    const next = sequence(2)
    const steps = Array.from({ length: 400 }, () => {
      const work = randomWork(next, 1 + Math.floor(next() * 16))
      return { nanojoules: BigInt(Math.round(cost(work) * (1 + 0.02 * (next() - 0.5)))), work }
    })
    const fitted = fitRequestWeights(steps)
    expect(fitted.samples).toBe(400)
    expect(fitted.r2).toBeGreaterThan(0.99)
    // Noise of ±1 % over 400 steps leaves a few per cent on the small coefficients.
    expect(fitted.newToken / truth.newToken).toBeCloseTo(1, 0)
    expect(fitted.promptToken / truth.promptToken).toBeCloseTo(1, 1)
    expect(fitted.promptTokenContext / truth.promptTokenContext).toBeCloseTo(1, 1)
  })

  it('never gives a token negative energy, and refuses too few steps', () => {
    const next = sequence(3)
    const steps = Array.from({ length: 40 }, () => ({
      nanojoules: BigInt(Math.floor(next() * 1e9)),
      work: randomWork(next, 3),
    }))
    const fitted = fitRequestWeights(steps)
    for (const value of [fitted.newToken, fitted.newTokenContext, fitted.promptToken, fitted.promptTokenContext]) {
      expect(value).toBeGreaterThanOrEqual(0)
    }
    expect(() => fitRequestWeights(steps.slice(0, 5))).toThrow(SwiftError)
  })
})

describe('RequestLedger', () => {
  it('conserves: requests, shared and idle are the device, to the nanojoule, in any order of the batch (I6)', () => {
    for (let seed = 1; seed <= 50; seed++) {
      const next = sequence(seed)
      const ledger = new RequestLedger(truth)
      const shuffled = new RequestLedger(truth)
      let device = 0n
      for (let step = 0; step < 60; step++) {
        const work = randomWork(next, Math.floor(next() * 9))
        const activeNanojoules = BigInt(Math.floor(next() * 5e12))
        const idleNanojoules = BigInt(Math.floor(next() * 1e11))
        device += activeNanojoules + idleNanojoules
        ledger.step({ activeNanojoules, idleNanojoules, work })
        shuffled.step({ activeNanojoules, idleNanojoules, work: work.toReversed() })
      }
      const report = ledger.report()
      const requests = sum(report.requests.map((one) => one.prefillNanojoules + one.decodeNanojoules))
      expect(requests + report.sharedNanojoules + report.idleNanojoules).toBe(device)
      expect(report.totalNanojoules).toBe(device)
      for (const one of report.requests) expect(shuffled.request(one.id)).toEqual(one)
      const released = report.requests[0]
      if (released !== undefined) {
        expect(ledger.release(released.id)).toEqual(released)
        const after = ledger.report()
        const rest = sum(after.requests.map((one) => one.prefillNanojoules + one.decodeNanojoules))
        expect(rest + after.sharedNanojoules + after.idleNanojoules).toBe(device)
      }
    }
  })

  it('charges prompt and written tokens apart', () => {
    const ledger = new RequestLedger({
      newToken: 3,
      newTokenContext: 0,
      promptToken: 1,
      promptTokenContext: 0,
      step: 0,
    })
    ledger.step({
      activeNanojoules: 13_000_000_000n,
      work: [
        { id: 'long', promptTokens: 10, newTokens: 0, contextTokens: 0 },
        { id: 'short', promptTokens: 0, newTokens: 1, contextTokens: 7 },
      ],
    })
    expect(ledger.request('long')?.prefillNanojoules).toBe(10_000_000_000n)
    expect(ledger.request('short')?.decodeNanojoules).toBe(3_000_000_000n)
    expect(ledger.report()).toMatchObject({
      joulesPerPromptToken: 1,
      joulesPerNewToken: 3,
      medianJoules: 3,
      p95Joules: 10,
    })
  })
})
