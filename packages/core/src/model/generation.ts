/**
 * A generation that has begun: await it for the whole text, or iterate over its pieces as they come (or both). No
 * piece ends inside a character.
 *
 * @example
 * for await (const piece of model.generate('Why?')) process.stdout.write(piece)
 * const text = await model.generate('Why?')
 */
export class Generation implements PromiseLike<string>, AsyncIterable<string> {
  readonly #pieces: string[] = []
  readonly #done: Promise<string>
  #wake: (() => void)[] = []
  #ended = false

  /** @param source - the pieces; read to the end at once, whether or not anybody iterates */
  constructor(source: AsyncIterable<string>) {
    this.#done = this.#drain(source)
    // Whoever awaits or iterates hears of the error; without either it must not end the process.
    this.#done.catch(() => undefined)
  }

  async #drain(source: AsyncIterable<string>): Promise<string> {
    try {
      for await (const piece of source) {
        this.#pieces.push(piece)
        this.#notify()
      }
      return this.#pieces.join('')
    } finally {
      this.#ended = true
      this.#notify()
    }
  }

  #notify(): void {
    const waiting = this.#wake
    this.#wake = []
    for (const wake of waiting) wake()
  }

  /** The whole text. */
  // oxlint-disable-next-line unicorn/no-thenable -- awaiting a generation is its point
  then<Fulfilled = string, Rejected = never>(
    onFulfilled?: ((value: string) => Fulfilled | PromiseLike<Fulfilled>) | null,
    onRejected?: ((reason: unknown) => Rejected | PromiseLike<Rejected>) | null,
  ): Promise<Fulfilled | Rejected> {
    return this.#done.then(onFulfilled, onRejected)
  }

  /** The pieces, from the first. */
  async *[Symbol.asyncIterator](): AsyncGenerator<string, void> {
    for (let index = 0; ; index += 1) {
      while (index >= this.#pieces.length && !this.#ended) {
        await new Promise<void>((resolve) => this.#wake.push(resolve))
      }
      const piece = this.#pieces[index]
      if (piece === undefined) break
      yield piece
    }
    await this.#done
  }
}
