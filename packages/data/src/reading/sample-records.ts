import type { RawRecord } from '@swift/spec'
import { counterHash } from './counter-hash.ts'
import type { DatasetSource } from './dataset-source.ts'

/** A record and the file it came from. */
export interface SourcedRecord {
  readonly file: string
  readonly record: RawRecord
}

interface Candidate extends SourcedRecord {
  readonly order: number
  readonly key: number
}

/** Keeps the `capacity` candidates with the smallest keys in a heap whose root has the largest. */
class SmallestKeys {
  readonly #capacity: number
  readonly #heap: Candidate[] = []

  constructor(capacity: number) {
    this.#capacity = capacity
  }

  push(candidate: Candidate): void {
    if (this.#heap.length < this.#capacity) {
      this.#heap.push(candidate)
      this.#siftUp(this.#heap.length - 1)
    } else if (candidate.key < (this.#heap[0]?.key ?? 0)) {
      this.#heap[0] = candidate
      this.#siftDown()
    }
  }

  inOrder(): Candidate[] {
    return this.#heap.toSorted((left, right) => left.order - right.order)
  }

  #key(index: number): number {
    return this.#heap[index]?.key ?? -1
  }

  #swap(left: number, right: number): void {
    const [first, second] = [this.#heap[left], this.#heap[right]]
    if (first === undefined || second === undefined) return
    this.#heap[left] = second
    this.#heap[right] = first
  }

  #siftUp(start: number): void {
    for (let index = start; index > 0;) {
      const parent = (index - 1) >> 1
      if (this.#key(parent) >= this.#key(index)) return
      this.#swap(parent, index)
      index = parent
    }
  }

  #siftDown(): void {
    for (let index = 0; ;) {
      const left = 2 * index + 1
      const child = this.#key(left + 1) > this.#key(left) ? left + 1 : left
      if (this.#key(child) <= this.#key(index)) return
      this.#swap(child, index)
      index = child
    }
  }
}

async function* readAll(source: DatasetSource, signal: AbortSignal | undefined): AsyncGenerator<SourcedRecord> {
  for (const { path, reader } of source.files) {
    for await (const record of reader.doRead(path, { signal })) yield { file: path, record }
  }
}

/**
 * Records of a source in file order. With a count, a random choice of that many, decided by the seed and each record's
 * position; a count beyond the file repeats it whole as often as it fits and fills up with such a choice.
 */
export async function* sampleRecords(
  source: DatasetSource,
  { seed, signal }: { seed: number; signal?: AbortSignal | undefined },
): AsyncGenerator<SourcedRecord> {
  if (source.count === undefined) {
    yield* readAll(source, signal)
    return
  }
  const chosen = new SmallestKeys(source.count)
  let order = 0
  for await (const sourced of readAll(source, signal)) {
    chosen.push({ ...sourced, order, key: counterHash(seed, 1, order) })
    order += 1
  }
  const records = chosen.inOrder()
  let missing = source.count
  while (missing >= records.length && records.length > 0) {
    yield* records
    missing -= records.length
  }
  const rest = records.toSorted((left, right) => left.key - right.key).slice(0, missing)
  yield* rest.toSorted((left, right) => left.order - right.order)
}
