/** One record of a file before its shape is known. */
export interface RawRecord {
  /** First line of the record, from 1, for formats read by lines. */
  readonly line?: number
  /** Position among the file's records, from 0; broken records count too. */
  readonly index: number
  /** The parsed record, or undefined when it is broken. */
  readonly value?: unknown
  /** Why the record is broken. */
  readonly problem?: string
  /** First bytes of a broken record as printable text. */
  readonly preview?: string
}

/** What a reader is given besides the path. */
export interface DatasetReadContext {
  /** Ends the reading early. */
  readonly signal?: AbortSignal | undefined
}

/** Reads one kind of file. Plugins add readers for more kinds. */
export interface DatasetReader {
  /** Unique id, such as `jsonl`. */
  readonly id: string
  /** File name endings it reads, lower case with the dot, such as `.jsonl`. */
  readonly extensions: readonly string[]
  /**
   * Reads records in file order without holding the whole file where the format allows it. Broken records are
   * yielded with their `problem`; only what makes the rest unreadable is thrown.
   */
  doRead(path: string, context: DatasetReadContext): AsyncIterable<RawRecord>
}
