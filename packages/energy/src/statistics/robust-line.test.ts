import { describe, expect, it } from 'vitest'
import { nonNegativeLeastSquares } from './non-negative-least-squares.ts'
import { robustLine } from './robust-line.ts'

describe('robustLine', () => {
  it('finds a line through points of which a fifth are elsewhere', () => {
    const points = Array.from({ length: 50 }, (_, x) => ({ x, y: x % 5 === 3 ? 1e6 : 10 + 2 * x }))
    const line = robustLine(points)
    expect(line?.slope).toBeCloseTo(2, 6)
    expect(line?.intercept).toBeCloseTo(10, 6)
    expect(line?.lowSlope).toBeLessThanOrEqual(2)
    expect(line?.highSlope).toBeGreaterThanOrEqual(2)
  })

  it('has an interval that holds the truth and shrinks with points', () => {
    const noisy = (count: number) =>
      robustLine(Array.from({ length: count }, (_, x) => ({ x, y: 5 * x + 40 * Math.sin(12.9898 * x * x) })))
    const [few, many] = [noisy(12), noisy(150)]
    for (const line of [few, many]) {
      expect(line?.lowSlope).toBeLessThanOrEqual(5)
      expect(line?.highSlope).toBeGreaterThanOrEqual(5)
    }
    const width = (line: typeof few) => (line?.highSlope ?? 0) - (line?.lowSlope ?? 0)
    expect(width(many)).toBeLessThan(width(few))
  })

  it('says nothing from too few points', () => {
    expect(
      robustLine([
        { x: 1, y: 1 },
        { x: 2, y: 2 },
        { x: 3, y: 3 },
      ]),
    ).toBeUndefined()
    expect(robustLine(Array.from({ length: 9 }, (_, y) => ({ x: 1, y })))).toBeUndefined()
  })
})

describe('nonNegativeLeastSquares', () => {
  it('is exact on exact data and stays at zero where the free fit is negative', () => {
    const rows = [
      [1, 0, 1],
      [0, 1, 1],
      [1, 1, 1],
      [2, 1, 1],
      [3, 5, 1],
    ]
    const exact = nonNegativeLeastSquares(
      rows,
      rows.map(([a = 0, b = 0]) => 3 * a + 2 * b),
    )
    expect(exact.coefficients[0]).toBeCloseTo(3, 9)
    expect(exact.coefficients[1]).toBeCloseTo(2, 9)
    expect(exact.coefficients[2]).toBeCloseTo(0, 9)
    expect(exact.r2).toBeCloseTo(1, 9)
    const falling = nonNegativeLeastSquares([[1], [2], [3]], [-1, -2, -3])
    expect(falling.coefficients).toEqual([0])
  })
})
