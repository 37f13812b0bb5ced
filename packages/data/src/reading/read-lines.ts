import { createReadStream } from 'node:fs'

/** One line of a file, without its line break. */
export interface RawLine {
  /** From 1. */
  readonly line: number
  /** Undefined when the line is longer than the limit. */
  readonly bytes: Uint8Array | undefined
  /** The first bytes of the line, at most 200. */
  readonly head: Uint8Array
  readonly byteLength: number
}

/** Lines longer than this are not kept in memory: 128 MiB. */
export const defaultMaxLineBytes: number = 128 * 1024 * 1024

const lineFeed = 0x0a
const carriageReturn = 0x0d
const headBytes = 200
const byteOrderMark = [0xef, 0xbb, 0xbf]

function withoutByteOrderMark(bytes: Uint8Array): Uint8Array {
  return byteOrderMark.every((byte, index) => bytes[index] === byte) ? bytes.subarray(3) : bytes
}

function withoutCarriageReturn(bytes: Uint8Array): Uint8Array {
  return bytes.at(-1) === carriageReturn ? bytes.subarray(0, -1) : bytes
}

/** Gathers the pieces of one line and lets go of them once there are too many bytes. */
class LineBuffer {
  readonly #maxBytes: number
  #pieces: Uint8Array[] = []
  byteLength = 0

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  push(piece: Uint8Array): void {
    if (piece.length === 0) return
    this.byteLength += piece.length
    const isHead = this.#pieces.length === 0
    // Once too long, only the first piece is kept, for the preview.
    if (this.byteLength > this.#maxBytes) this.#pieces = isHead ? [piece.slice(0, headBytes)] : this.#pieces.slice(0, 1)
    else this.#pieces.push(piece)
  }

  take(line: number): RawLine {
    const isTooLong = this.byteLength > this.#maxBytes
    const [first = new Uint8Array(0)] = this.#pieces
    const joined = isTooLong || this.#pieces.length === 1 ? first : Buffer.concat(this.#pieces)
    const start = line === 1 ? withoutByteOrderMark(joined) : joined
    const bytes = isTooLong ? undefined : withoutCarriageReturn(start)
    const raw = { line, bytes, head: (bytes ?? start).subarray(0, headBytes), byteLength: this.byteLength }
    this.#pieces = []
    this.byteLength = 0
    return raw
  }
}

/**
 * Reads a file line by line with exact line numbers, in constant memory apart from the line itself. Lines end in LF or
 * CRLF; a byte order mark is left out; the end of the file ends the last line, and an empty last line is none.
 */
export async function* readLines(
  path: string,
  { maxLineBytes = defaultMaxLineBytes, signal }: { maxLineBytes?: number; signal?: AbortSignal | undefined } = {},
): AsyncGenerator<RawLine> {
  const stream = createReadStream(path, { highWaterMark: 1024 * 1024, signal })
  const buffer = new LineBuffer(maxLineBytes)
  let line = 1
  for await (const chunk of stream as AsyncIterable<Uint8Array>) {
    let start = 0
    for (let end = chunk.indexOf(lineFeed); end !== -1; end = chunk.indexOf(lineFeed, start)) {
      buffer.push(chunk.subarray(start, end))
      yield buffer.take(line)
      line += 1
      start = end + 1
    }
    buffer.push(chunk.subarray(start))
  }
  if (buffer.byteLength > 0) yield buffer.take(line)
}
