import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { join } from 'node:path'
import type { PackedBatch } from '@swift/spec'
import { fixedBatches, type BatchSource } from '../training/batch-source.ts'

/** Folder of the goldens. */
export const goldens: string = fileURLToPath(new URL('../../../../tests/goldens', import.meta.url))

/** One run of PEFT or torch. */
export interface GoldenRun {
  readonly losses: readonly number[]
  readonly gradientNorms: readonly number[]
  readonly lossesFloat64: readonly number[]
  readonly largestLossDifference: number
}

/** `golden.json` of a case. */
export interface Golden {
  readonly rows: readonly GoldenRow[]
  readonly single: GoldenRun
  readonly accumulated?: GoldenRun
}

interface GoldenRow {
  readonly inputIds: readonly number[]
  readonly labels: readonly number[]
}

/** Reads `peft/<name>/golden.json`. */
export function readGolden(name: string): Golden {
  return JSON.parse(readFileSync(join(goldens, 'peft', name, 'golden.json'), 'utf8')) as Golden
}

/** Rows, labels unshifted as in the goldens, laid one after the other. */
export function packRows(rows: readonly GoldenRow[]): PackedBatch {
  const lengths = rows.map(({ inputIds }) => inputIds.length)
  const cuSeqlens = Int32Array.from([
    0,
    ...lengths.map((_, index) => lengths.slice(0, index + 1).reduce((sum, length) => sum + length, 0)),
  ])
  return {
    inputIds: Int32Array.from(rows.flatMap(({ inputIds }) => inputIds)),
    positions: Int32Array.from(lengths.flatMap((length) => Array.from({ length }, (_, index) => index))),
    cuSeqlens,
    labels: Int32Array.from(rows.flatMap(({ labels }) => [...labels.slice(1), -100])),
  }
}

/** One batch per row. */
export function rowBatches(rows: readonly GoldenRow[], fingerprint = 'golden rows'): BatchSource {
  return fixedBatches(
    rows.map((row) => packRows([row])),
    fingerprint,
  )
}
