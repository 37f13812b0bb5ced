interface Reader<Event> {
  readonly queue: Event[]
  wake: (() => void) | undefined
}

/**
 * Typed events to listeners and to async iterators. Iterators buffer: a slow reader misses nothing and stops nobody.
 */
export class EventStream<Event extends { readonly type: string }> {
  readonly #listeners = new Set<(event: Event) => void>()
  readonly #readers = new Set<Reader<Event>>()
  #ended = false

  /** Hands an event to everyone. */
  emit(event: Event): void {
    for (const listener of this.#listeners) listener(event)
    for (const reader of this.#readers) {
      reader.queue.push(event)
      reader.wake?.()
    }
  }

  /** Ends every iterator once it has read what was emitted. */
  end(): void {
    this.#ended = true
    for (const reader of this.#readers) reader.wake?.()
  }

  /**
   * Calls `listener` with each later event of a type (`*` is all).
   * @returns call it to stop
   */
  on<Type extends Event['type'] | '*'>(
    type: Type,
    listener: (event: Type extends '*' ? Event : Extract<Event, { readonly type: Type }>) => void,
  ): () => void {
    const filtered = (event: Event): void => {
      if (type === '*' || event.type === type) listener(event as Parameters<typeof listener>[0])
    }
    this.#listeners.add(filtered)
    return () => {
      this.#listeners.delete(filtered)
    }
  }

  /** Reads the events emitted from now on, until the stream ends. */
  [Symbol.asyncIterator](): AsyncGenerator<Event, void> {
    const reader: Reader<Event> = { queue: [], wake: undefined }
    this.#readers.add(reader)
    return this.#read(reader)
  }

  async *#read(reader: Reader<Event>): AsyncGenerator<Event, void> {
    try {
      for (;;) {
        const event = reader.queue.shift()
        if (event !== undefined) {
          yield event
          continue
        }
        if (this.#ended) return
        await new Promise<void>((resolve) => {
          reader.wake = resolve
        })
        reader.wake = undefined
      }
    } finally {
      this.#readers.delete(reader)
    }
  }
}
