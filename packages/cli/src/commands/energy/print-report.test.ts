import type { EnergyReport } from '@swift/spec'
import { expect, it } from 'vitest'
import { sourceLines } from './print-report.ts'

const fit = {
  source: 'powercap:intel-rapl:0',
  intervals: 240,
  unknowns: 21,
  condition: 265.4,
  residualJoules: 0.2,
  relativeNoise: 0.012,
  classes: [],
}

it('says how good the division over phases is, and which classes cannot be told apart', () => {
  const report = {
    sources: [],
    gaps: [],
    mergeNotes: [],
    fits: [
      {
        ...fit,
        merged: [
          ['train/data', 'train/optimizer'],
          ['', 'plan'],
        ],
      },
      { ...fit, source: 'nvml:GPU-1', condition: 69, merged: [] },
    ],
  } satisfies Partial<EnergyReport>
  expect(sourceLines(report as unknown as EnergyReport)).toEqual([
    'division of powercap:intel-rapl:0 over phases: regression over 240 readings, condition number 265, noise ±1.2 %',
    '  not to be told apart, read their sum: train/data + train/optimizer',
    '  not to be told apart, read their sum: (no phase) + plan',
    'division of nvml:GPU-1 over phases: regression over 240 readings, condition number 69, noise ±1.2 %',
  ])
})
