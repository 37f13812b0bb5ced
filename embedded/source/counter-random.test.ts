import { describe, expect, it } from 'vitest'
import { createCounterRandom } from './counter-random.ts'

describe('createCounterRandom', () => {
  it('gives the same draws for the same seed and name, and others for another', () => {
    const draws = (seed: number, name: string): number[] => {
      const random = createCounterRandom(seed, name)
      return Array.from({ length: 4 }, () => random.next())
    }
    expect(draws(7, 'corpus/1')).toEqual(draws(7, 'corpus/1'))
    expect(draws(7, 'corpus/1')).not.toEqual(draws(7, 'corpus/2'))
    expect(draws(7, 'corpus/1')).not.toEqual(draws(8, 'corpus/1'))
  })

  it('is pinned, since every generated file depends on it', () => {
    const random = createCounterRandom(7, 'pinned')
    expect(Array.from({ length: 3 }, () => random.next())).toMatchInlineSnapshot(`
      [
        3608157908,
        2426536451,
        1780159923,
      ]
    `)
  })

  it('spreads draws evenly: 60,000 over 6 faces within five standard deviations of 10,000', () => {
    const random = createCounterRandom(1, 'dice')
    const counts = Array.from({ length: 6 }, () => 0)
    for (let throws = 0; throws < 60_000; throws += 1) {
      const face = random.below(6)
      counts[face] = (counts[face] ?? 0) + 1
    }
    const deviation = Math.sqrt(60_000 * (1 / 6) * (5 / 6))
    for (const count of counts) expect(Math.abs(count - 10_000)).toBeLessThan(5 * deviation)
  })

  it('shuffles without losing or repeating anything', () => {
    const list = Array.from({ length: 100 }, (_, index) => index)
    const shuffled = createCounterRandom(3, 'deck').shuffled(list)
    expect(shuffled).not.toEqual(list)
    expect(shuffled.toSorted((a, b) => a - b)).toEqual(list)
  })
})
