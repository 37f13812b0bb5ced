/** Power at an instant of a trace. */
export interface TracePoint {
  /** Since the beginning of the trace; the first point is at 0, each later than the one before. */
  readonly milliseconds: number
  /** At least 0. Whole milliwatts count. */
  readonly watts: number
}

interface Segment {
  readonly startNs: bigint
  readonly lengthNs: bigint
  readonly startMilliwatts: bigint
  readonly endMilliwatts: bigint
  /** Twice the picojoules before it. */
  readonly doubledBefore: bigint
}

/** 1 nJ in twice picojoules: mW times ns are picojoules, and the area of a ramp has a half. */
const doubledPicojoules = 2000n

/**
 * Power over time, linear between its points and constant after the last, with the exact integral: what a test feeds to a
 * meter is known to the nanojoule at every instant.
 */
export class PowerTrace {
  readonly #segments: readonly Segment[]
  readonly #lastMilliwatts: bigint
  readonly #endNs: bigint
  readonly #doubledAtEnd: bigint

  /** @throws `RangeError` for points that are not in order, or power below 0 */
  constructor(points: readonly TracePoint[]) {
    const at = points.map(({ milliseconds, watts }) => {
      if (!(watts >= 0)) throw new RangeError(`power of a trace is at least 0 W, not ${watts}`)
      return { ns: BigInt(Math.round(milliseconds * 1e6)), milliwatts: BigInt(Math.round(watts * 1000)) }
    })
    const [first] = at
    if (first?.ns !== 0n) throw new RangeError('a trace begins at 0 ms')
    const segments: Segment[] = []
    let doubled = 0n
    for (const [index, end] of at.slice(1).entries()) {
      const start = at[index] ?? first
      const lengthNs = end.ns - start.ns
      if (lengthNs <= 0n) throw new RangeError('points of a trace are in order of time')
      segments.push({
        startNs: start.ns,
        lengthNs,
        startMilliwatts: start.milliwatts,
        endMilliwatts: end.milliwatts,
        doubledBefore: doubled,
      })
      doubled += (start.milliwatts + end.milliwatts) * lengthNs
    }
    const last = at.at(-1) ?? first
    this.#segments = segments
    this.#lastMilliwatts = last.milliwatts
    this.#endNs = last.ns
    this.#doubledAtEnd = doubled
  }

  /** Constant power. */
  static constant(watts: number): PowerTrace {
    return new PowerTrace([{ milliseconds: 0, watts }])
  }

  /** The last point's instant. */
  get durationNanoseconds(): bigint {
    return this.#endNs
  }

  /**
   * Nanojoules from the beginning to an instant, rounded down; differences of two such values add up without a remainder.
   * @param nanoseconds since the beginning, at least 0
   */
  nanojoulesUntil(nanoseconds: bigint): bigint {
    if (nanoseconds >= this.#endNs) {
      const after = 2n * this.#lastMilliwatts * (nanoseconds - this.#endNs)
      return (this.#doubledAtEnd + after) / doubledPicojoules
    }
    const segment = this.#segments.findLast(({ startNs }) => startNs <= nanoseconds)
    if (segment === undefined) return 0n
    const { startNs, lengthNs, startMilliwatts, endMilliwatts, doubledBefore } = segment
    const passed = nanoseconds - startNs
    // Over one denominator, so that it is rounded once.
    const inside = 2n * startMilliwatts * passed * lengthNs + (endMilliwatts - startMilliwatts) * passed * passed
    return (doubledBefore * lengthNs + inside) / (doubledPicojoules * lengthNs)
  }

  /**
   * Power at an instant, in watts.
   * @param nanoseconds since the beginning, at least 0
   */
  wattsAt(nanoseconds: bigint): number {
    const segment =
      nanoseconds < this.#endNs ? this.#segments.findLast(({ startNs }) => startNs <= nanoseconds) : undefined
    if (segment === undefined) return Number(this.#lastMilliwatts) / 1000
    const { startNs, lengthNs, startMilliwatts, endMilliwatts } = segment
    const part = Number(nanoseconds - startNs) / Number(lengthNs)
    return (Number(startMilliwatts) + part * Number(endMilliwatts - startMilliwatts)) / 1000
  }
}
