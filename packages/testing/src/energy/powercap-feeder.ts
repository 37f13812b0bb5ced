import type { FakePowercapTree } from './fake-powercap-tree.ts'
import type { PowerTrace } from './power-trace.ts'

/**
 * Feeds traces to the zones of a fake tree, on a virtual clock or on the real one. After every move the counter of a zone
 * has gained exactly the integral of its trace.
 *
 * ```ts
 * const feeder = new PowercapFeeder(tree, { 'intel-rapl:0': new PowerTrace([{ milliseconds: 0, watts: 50 }]) })
 * feeder.advance(2000) // 100 J
 * ```
 */
export class PowercapFeeder {
  readonly #tree: FakePowercapTree
  readonly #traces: readonly (readonly [entry: string, trace: PowerTrace])[]
  #nowNs = 0n

  /** @param traces by entry of the tree */
  constructor(tree: FakePowercapTree, traces: Readonly<Record<string, PowerTrace>>) {
    this.#tree = tree
    this.#traces = Object.entries(traces)
  }

  /** The virtual clock. */
  get nowNanoseconds(): bigint {
    return this.#nowNs
  }

  /** Nanojoules fed to a zone so far. @throws `RangeError` for a zone without a trace */
  fed(entry: string): bigint {
    const found = this.#traces.find(([name]) => name === entry)
    if (found === undefined) throw new RangeError(`no trace for ${entry}`)
    return found[1].nanojoulesUntil(this.#nowNs)
  }

  /** Moves the virtual clock on. @throws `RangeError` for a negative time */
  advance(milliseconds: number): void {
    if (!(milliseconds >= 0)) throw new RangeError('a clock does not go back')
    const until = this.#nowNs + BigInt(Math.round(milliseconds * 1e6))
    for (const [entry, trace] of this.#traces) {
      this.#tree.add(entry, trace.nanojoulesUntil(until) - trace.nanojoulesUntil(this.#nowNs))
    }
    this.#nowNs = until
  }

  /**
   * Follows the real clock until disposed.
   * @param periodMs time between two moves. Default 5
   */
  follow(periodMs: number = 5): Disposable {
    let before = performance.now()
    const move = (): void => {
      const now = performance.now()
      this.advance(now - before)
      before = now
    }
    const timer = setInterval(move, periodMs)
    return {
      [Symbol.dispose]: () => {
        clearInterval(timer)
        move()
      },
    }
  }
}
