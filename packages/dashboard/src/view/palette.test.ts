import { describe, expect, it } from 'vitest'
import { contrast, dark, light, linearRgb, textOn } from './palette.ts'

const themes = { light, dark }

/** Machado, Oliveira and Fernandes 2009, severity 1; on linear RGB. */
const deficiencies: Readonly<Record<string, readonly (readonly number[])[]>> = {
  none: [
    [1, 0, 0],
    [0, 1, 0],
    [0, 0, 1],
  ],
  protanopia: [
    [0.152286, 1.052583, -0.204868],
    [0.114503, 0.786281, 0.099216],
    [-0.003882, -0.048116, 1.051998],
  ],
  deuteranopia: [
    [0.367322, 0.860646, -0.227968],
    [0.280085, 0.672501, 0.047413],
    [-0.01182, 0.04294, 0.968881],
  ],
  tritanopia: [
    [1.255528, -0.076749, -0.178779],
    [-0.078411, 0.930809, 0.147602],
    [0.004733, 0.691367, 0.3039],
  ],
}

function oklab(hex: string, matrix: readonly (readonly number[])[]): readonly number[] {
  const rgb = linearRgb(hex)
  const product = (rows: readonly (readonly number[])[], vector: readonly number[]): number[] =>
    rows.map((row) => row.reduce((sum, weight, index) => sum + weight * (vector[index] ?? 0), 0))
  const seen = product(matrix, rgb).map((value) => Math.max(0, Math.min(1, value)))
  const cones = product(
    [
      [0.4122214708, 0.5363325363, 0.0514459929],
      [0.2119034982, 0.6806995451, 0.1073969566],
      [0.0883024619, 0.2817188376, 0.6299787005],
    ],
    seen,
  )
  return product(
    [
      [0.2104542553, 0.793617785, -0.0040720468],
      [1.9779984951, -2.428592205, 0.4505937099],
      [0.0259040371, 0.7827717662, -0.808675766],
    ],
    cones.map(Math.cbrt),
  )
}

function distance(first: string, second: string, matrix: readonly (readonly number[])[]): number {
  const [a, b] = [oklab(first, matrix), oklab(second, matrix)]
  return 100 * Math.hypot(...a.map((value, index) => value - (b[index] ?? 0)))
}

describe.each(Object.entries(themes))('the %s theme', (_, theme) => {
  const grounds = [theme.page, theme.surface, theme.raised]

  it('has text of at least 4.5:1 (WCAG AA) on everything that lies behind text', () => {
    for (const text of [theme.text, theme.muted, theme.accent, theme.good, theme.warning, theme.danger]) {
      for (const ground of grounds) expect(contrast(text, ground), `${text} on ${ground}`).toBeGreaterThanOrEqual(4.5)
    }
    expect(contrast(theme.onAccent, theme.accent)).toBeGreaterThanOrEqual(4.5)
    for (const fill of theme.phases) expect(contrast(textOn(fill), fill), fill).toBeGreaterThanOrEqual(4.5)
  })

  it('has outlines and marks of at least 3:1 (WCAG 1.4.11)', () => {
    for (const mark of [...theme.phases, theme.outline, theme.focus]) {
      expect(contrast(mark, theme.surface), mark).toBeGreaterThanOrEqual(3)
    }
  })

  it.each(Object.entries(deficiencies))('keeps the colours of phases apart for %s', (_name, matrix) => {
    for (const [index, first] of theme.phases.entries()) {
      for (const second of theme.phases.slice(index + 1)) {
        // Twice the distance at which neighbouring fills are told apart with ease (about 4 to 5 in these units).
        expect(distance(first, second, matrix), `${first} ${second}`).toBeGreaterThanOrEqual(9)
      }
    }
  })
})

it('knows the ends of the contrast scale', () => {
  expect(contrast('#000000', '#ffffff')).toBeCloseTo(21, 5)
  expect(contrast('#777777', '#777777')).toBe(1)
  expect(textOn('#ffff00')).toBe('#10131a')
})
