import { native } from '@swift/kernels'
import { describeCpu } from '@swift/tensor'

/** What the machine can do at most, on all threads of the CPU device, as measured. */
export interface Limits {
  /** Multiply-adds of 32-bit floats, FLOP/s (a multiply-add counts two). */
  readonly float32: number
  /** Dot products of bfloat16, FLOP/s; undefined without the instruction. */
  readonly bfloat16: number | undefined
  /** Reading memory, bytes/s. */
  readonly readBytes: number
}

/** Bytes of the memory loops: several times any cache. */
export const memoryLoopBytes: number = 512 * 2 ** 20

/** Best of a few short loops each: about a second in all. */
export function measureLimits(): Limits {
  const { isa, nativeBfloat16 } = describeCpu()
  const { rooflinePeak, rooflineBandwidth } = native()
  const best = (measure: () => number): number => Math.max(measure(), measure(), measure())
  return {
    float32: best(() => rooflinePeak(isa, false, true)) * 1e9,
    bfloat16: nativeBfloat16 ? best(() => rooflinePeak(isa, true, true)) * 1e9 : undefined,
    readBytes: best(() => rooflineBandwidth(false, true, memoryLoopBytes)),
  }
}

/** The limit of products whose inputs are rounded to a dtype: without the instruction that is float32's. */
export function productLimit(limits: Limits, compute: 'float32' | 'bfloat16'): number {
  return compute === 'bfloat16' ? (limits.bfloat16 ?? limits.float32) : limits.float32
}
