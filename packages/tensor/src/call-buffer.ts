import { runtime } from './runtime.ts'

/** Shortest array: more than the outputs of any op fill. */
const SHORTEST = 4096

let buffer: Float64Array | undefined

/**
 * The array through which calls hand numbers to the native table and take results from it: one per thread, because
 * handing over an array costs more than most calls do. Whatever it holds is gone at the next call.
 * @param slots - numbers that the call needs
 */
export function callBuffer(slots: number): Float64Array {
  if (buffer !== undefined && buffer.length >= slots) return buffer
  buffer = new Float64Array(Math.max(2 * slots, SHORTEST))
  runtime().setBuffer(buffer)
  return buffer
}
