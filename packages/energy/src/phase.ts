import type { MarkEdge, MarkStream } from '@swift/spec'

/** What a phase needs of its ledger. */
export interface PhaseOwner {
  /** Mark one end of a phase in the caller's time. */
  markNow(token: number, edge: MarkEdge): void
  /** Open another phase. */
  phase(path: string, options?: PhaseOptions): Phase
}

/** How a phase is marked. */
export interface PhaseOptions {
  /**
   * Queue that carries the work of this phase, usually a device of `@swift/tensor`: the marks then carry the time at
   * which the work really began and ended. Default: the marks are taken when the calls are made.
   */
  readonly stream?: MarkStream
}

/**
 * An open phase. Ends with `end()`, or by itself with `using`. While it is the innermost open phase of its stream,
 * the process's energy belongs to it.
 */
export class Phase implements Disposable {
  readonly path: string
  /** Identifies this use of the path to {@link Ledger.settle} and to the stream. */
  readonly token: number
  readonly #owner: PhaseOwner
  readonly #stream: MarkStream | undefined
  #ended = false

  /** Phases are opened by a ledger. */
  constructor(owner: PhaseOwner, path: string, token: number, stream: MarkStream | undefined) {
    this.#owner = owner
    this.path = path
    this.token = token
    this.#stream = stream
    this.#mark('begin')
  }

  /** Whether {@link end} was called. On a stream the work itself may still be running. */
  get ended(): boolean {
    return this.#ended
  }

  /**
   * Open a phase inside this one, on the same stream unless another is named.
   * @param name one or more path segments below this phase's path
   */
  phase(name: string, options: PhaseOptions = {}): Phase {
    const stream = options.stream ?? this.#stream
    return this.#owner.phase(`${this.path}/${name}`, stream === undefined ? {} : { stream })
  }

  /** End the phase. A second call does nothing. */
  end(): void {
    if (this.#ended) return
    this.#ended = true
    this.#mark('end')
  }

  [Symbol.dispose](): void {
    this.end()
  }

  #mark(edge: MarkEdge): void {
    if (this.#stream === undefined) this.#owner.markNow(this.token, edge)
    else this.#stream.mark(this.token, edge)
  }
}
