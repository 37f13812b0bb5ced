import { makeInstructions } from './instructions.ts'
import type { World } from './world.ts'

/** The two files of the instruction dataset as text, one JSON row per line. */
export function datasetText(world: World): { readonly train: string; readonly heldOut: string } {
  const { train, heldOut } = makeInstructions(world)
  const lines = (rows: readonly unknown[]): string => rows.map((row) => `${JSON.stringify(row)}\n`).join('')
  return { train: lines(train), heldOut: lines(heldOut) }
}
