import type { DatasetReader, RawRecord } from '@swift/spec'
import type { RejectionReason } from '../row-problem.ts'
import { decodeUtf8, findInvalidUtf8, previewBytes } from './decode-utf8.ts'
import { readLines, type RawLine } from './read-lines.ts'

/** A problem of a reader that names its reason; readers of plugins may leave `reason` out. */
export interface ReadProblem extends RawRecord {
  readonly reason: RejectionReason
}

function broken(raw: RawLine, index: number, reason: RejectionReason, problem: string): ReadProblem {
  return { line: raw.line, index, reason, problem, preview: previewBytes(raw.head) }
}

function parseLine(raw: RawLine, index: number): RawRecord | ReadProblem | undefined {
  if (raw.bytes === undefined) return broken(raw, index, 'line_too_long', `the line has ${raw.byteLength} bytes`)
  const text = decodeUtf8(raw.bytes)
  if (text === undefined) {
    return broken(raw, index, 'invalid_utf8', `byte ${findInvalidUtf8(raw.bytes) + 1} of the line is not UTF-8`)
  }
  if (text.trim() === '') return undefined
  try {
    return { line: raw.line, index, value: JSON.parse(text) as unknown }
  } catch (error) {
    return broken(raw, index, 'malformed_json', error instanceof Error ? error.message : String(error))
  }
}

/** One JSON value per line. Blank lines are no rows; a broken line is one row with a problem. */
export const jsonlReader: DatasetReader = {
  id: 'jsonl',
  extensions: ['.jsonl', '.ndjson'],
  async *doRead(path, { signal }) {
    let index = 0
    for await (const raw of readLines(path, { signal })) {
      const record = parseLine(raw, index)
      if (record === undefined) continue
      yield record
      index += 1
    }
  },
}
