import type { OpTime } from '@swift/tensor'

/** What an op computes and moves, as recorded on `meta`. */
export type OpWork = Pick<OpTime, 'name' | 'operands' | 'flops' | 'bytes'>

/** Ops whose times were recorded, in a batch of so many tokens. */
export interface ProbedOps {
  /** Tokens of the batch; the leading extent of what flows between the layers. */
  readonly tokens: number
  /** Its ops, in any order; one that ran several times counts by the median, because a run meets the same neighbours. */
  readonly ops: readonly (OpWork & Pick<OpTime, 'durationMs'>)[]
}

/** Rates for ops that were not probed. */
export interface GeneralRates {
  /** Rate of a matrix product. */
  readonly flopsPerSecond: number
  /** Rate of an op that streams through memory. */
  readonly bytesPerSecond: number
  /** What an op costs besides its own time: the call, the queue, the wait of threads for each other. */
  readonly secondsPerOp: number
}

interface Point {
  readonly work: number
  readonly seconds: number
}

/** Least part of the proportional growth that work beyond the probed one costs: noise must not make it free. */
const leastGrowth = 0.25

/**
 * Text that is the same for ops of the same extents in batches of different lengths: leading extents equal to the number
 * of tokens are left open. A weight may happen to have as many rows, so there are three readings, the likeliest first.
 */
function keysOf({ name, operands }: OpWork, tokens: number): string[] {
  const open = (isOpen: (index: number, operand: string) => boolean): string => {
    const parts = operands.split(/(?<=[\]-]) /)
    const texts = parts.map((operand, index) =>
      isOpen(index, operand) ? operand.replace(`[${tokens},`, '[T,').replace(`[${tokens}]`, '[T]') : operand,
    )
    return `${name}: ${texts.join(' ')}`
  }
  const flows = (operand: string): boolean => /^(?:float32|int32)\[/.test(operand)
  return [open((_, operand) => flows(operand)), open((index) => index === 0)]
}

/** FLOPs where an op has any, else bytes: what its time grows with. */
function workOf({ flops, bytes }: OpWork): number {
  return flops > 0 ? flops : bytes
}

/** The middle of `values`, of two middle ones the mean. */
function median(values: readonly number[]): number {
  const sorted = values.toSorted((left, right) => left - right)
  const [low, high] = [sorted[(sorted.length - 1) >> 1], sorted[sorted.length >> 1]]
  return ((low as number) + (high as number)) / 2
}

/** Seconds on the line through probed points; beyond the last never more than in proportion, nor less than a fourth. */
function secondsAt(points: readonly Point[], work: number): number {
  const last = points.at(-1) as Point
  const before = points.at(-2)
  const proportional = last.seconds / Math.max(1, last.work)
  const measured = before === undefined ? proportional : (last.seconds - before.seconds) / (last.work - before.work)
  const growth = Math.min(proportional, Math.max(leastGrowth * proportional, measured))
  if (work >= last.work || before === undefined) return Math.max(0, last.seconds + growth * (work - last.work))
  return Math.max(0, before.seconds + Math.max(0, measured) * (work - before.work))
}

/**
 * Times of ops by what was probed: the same op over the same extents on the line through its probed batches; an op of
 * the same name over other extents in proportion to its work; any other by the general rates.
 */
export class OpTimes {
  readonly #rates: GeneralRates
  readonly #byKey = new Map<string, readonly Point[]>()
  readonly #byName = new Map<string, readonly Point[]>()

  constructor(probed: readonly ProbedOps[], rates: GeneralRates) {
    this.#rates = rates
    const found = new Map<string, { readonly name: string; readonly secondsByWork: Map<number, number[]> }>()
    for (const { tokens, ops } of probed) {
      for (const op of ops) {
        for (const key of new Set(keysOf(op, tokens))) {
          const entry = found.get(key) ?? { name: op.name, secondsByWork: new Map<number, number[]>() }
          found.set(key, entry)
          const [work, seconds] = [workOf(op), op.durationMs / 1000]
          entry.secondsByWork.set(work, [...(entry.secondsByWork.get(work) ?? []), seconds])
        }
      }
    }
    for (const [key, { name, secondsByWork }] of found) {
      const points = [...secondsByWork].map(([work, times]): Point => ({ work, seconds: median(times) }))
      this.#byKey.set(
        key,
        points.toSorted((left, right) => left.work - right.work),
      )
      this.#byName.set(name, [...(this.#byName.get(name) ?? []), ...points])
    }
  }

  /** Whether an op over these extents was probed, in a batch of any length. */
  knows(op: OpWork, tokens: number): boolean {
    return keysOf(op, tokens).some((key) => this.#byKey.has(key))
  }

  /**
   * Seconds of one op, its overhead included.
   * @param tokens - tokens of its batch
   * @param share - part of its declared work that its contents leave: masked rows, keys of other sequences
   */
  secondsOf(op: OpWork, tokens: number, share = 1): number {
    const work = share * workOf(op)
    const { flopsPerSecond, bytesPerSecond, secondsPerOp } = this.#rates
    const key = keysOf(op, tokens).find((candidate) => this.#byKey.has(candidate))
    const points = key === undefined ? undefined : this.#byKey.get(key)
    if (points !== undefined) return secondsAt(points, work) + secondsPerOp
    const relatives = this.#byName.get(op.name)
    if (relatives !== undefined && work > 0) {
      const distance = (point: Point): number => Math.abs(Math.log(Math.max(1, point.work) / work))
      const nearest = relatives.reduce((best, point) => (distance(point) < distance(best) ? point : best))
      return (nearest.seconds * work) / Math.max(1, nearest.work) + secondsPerOp
    }
    return Math.max((share * op.flops) / flopsPerSecond, (share * op.bytes) / bytesPerSecond) + secondsPerOp
  }
}
