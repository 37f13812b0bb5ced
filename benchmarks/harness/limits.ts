import { native } from '@swift/kernels'
import { describeCpu } from '@swift/tensor'
import { CpuWatch } from './cpu-watch.ts'
import { disturbedAbove } from './row.ts'

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

/** Tries of each loop at most; two cores of a virtual machine can share one for longer than a second. */
const tries = 60

/**
 * Best of short loops: about a second in all. Where other processes keep the threads from ever running together, the
 * arithmetic limit is that of one thread times the threads: a limit taken from half a machine would flatter us.
 */
export function measureLimits(): Limits {
  const { isa, nativeBfloat16, threads } = describeCpu()
  const { rooflinePeak, rooflineBandwidth } = native()
  const watch = new CpuWatch()
  const peak = (bfloat16: boolean): number => {
    watch.restart()
    const together = threads * rooflinePeak(isa, bfloat16, false)
    let found = 0
    for (let index = 0; index < tries && (index < 3 || found < 0.9 * together); index++) {
      found = Math.max(found, rooflinePeak(isa, bfloat16, true))
    }
    const isDisturbed = (watch.othersShare() ?? 0) > disturbedAbove
    return 1e9 * (found < 0.9 * together && isDisturbed ? together : found)
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
