import type { DatasetReader } from '@swift/spec'
import { decodeUtf8, findInvalidUtf8, previewBytes } from './decode-utf8.ts'
import type { ReadProblem } from './jsonl-reader.ts'
import { readLines } from './read-lines.ts'

/** A line that holds only this ends a document. */
const documentSeparator = '<|endoftext|>'
/** Longer documents are cut at the next line end, so that no file has to fit into one string: 16 Mi characters. */
const maxDocumentCharacters = 16 * 1024 * 1024

/**
 * Plain text for pre-training: the file is one document, or several where lines hold only `<|endoftext|>`. Documents
 * beyond 16 Mi characters are cut at a line end into several. Rows look like `{ text }`.
 */
export const textReader: DatasetReader = {
  id: 'text',
  extensions: ['.txt', '.md'],
  async *doRead(path, { signal }) {
    let index = 0
    let firstLine = 1
    let characters = 0
    let lines: string[] = []
    const take = (): { line: number; index: number; value: { text: string } } => {
      const record = { line: firstLine, index, value: { text: lines.join('\n') } }
      index += 1
      lines = []
      characters = 0
      return record
    }
    for await (const raw of readLines(path, { signal })) {
      const text = raw.bytes === undefined ? undefined : decodeUtf8(raw.bytes)
      if (text === undefined) {
        const problem: ReadProblem = {
          line: raw.line,
          index,
          reason: raw.bytes === undefined ? 'line_too_long' : 'invalid_utf8',
          problem:
            raw.bytes === undefined
              ? `the line has ${raw.byteLength} bytes`
              : `byte ${findInvalidUtf8(raw.bytes) + 1} of the line is not UTF-8`,
          preview: previewBytes(raw.head),
        }
        index += 1
        yield problem
        continue
      }
      const isSeparator = text.trim() === documentSeparator
      if ((isSeparator || characters > maxDocumentCharacters) && lines.length > 0) yield take()
      if (lines.length === 0) firstLine = isSeparator ? raw.line + 1 : raw.line
      if (isSeparator) continue
      lines.push(text)
      characters += text.length + 1
    }
    if (lines.some((line) => line.trim() !== '')) yield take()
  },
}
