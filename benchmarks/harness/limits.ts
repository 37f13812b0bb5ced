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

/** Tries of each loop at most. */
const tries = 12

/**
 * Best of short loops: about a second in all. On a disturbed machine the arithmetic is tried again until all threads
 * together once do most of what as many single ones do, so that a limit is not taken from half a machine.
 */
export function measureLimits(): Limits {
  const { isa, nativeBfloat16, threads } = describeCpu()
  const { rooflinePeak, rooflineBandwidth } = native()
  const peak = (bfloat16: boolean): number => {
    const enough = 0.9 * threads * rooflinePeak(isa, bfloat16, false)
    let found = 0
    for (let index = 0; index < tries && (index < 3 || found < enough); index++) {
      found = Math.max(found, rooflinePeak(isa, bfloat16, true))
    }
    return found * 1e9
  }
  const best = (measure: () => number): number => Math.max(...Array.from({ length: 6 }, measure))
  return {
    float32: peak(false),
    bfloat16: nativeBfloat16 ? peak(true) : undefined,
    readBytes: best(() => rooflineBandwidth(false, true, memoryLoopBytes)),
  }
}

/** The limit of products whose inputs are rounded to a dtype: without the instruction that is float32's. */
export function productLimit(limits: Limits, compute: 'float32' | 'bfloat16'): number {
  return compute === 'bfloat16' ? (limits.bfloat16 ?? limits.float32) : limits.float32
}
