import { readFile } from 'node:fs/promises'
import { SwiftError, type DatasetReader } from '@swift/spec'
import { isRecord, kindOf } from '../json-value.ts'
import { decodeUtf8, findInvalidUtf8, previewBytes } from './decode-utf8.ts'

function invalid(path: string, found: string, cause?: unknown): SwiftError {
  return new SwiftError({
    code: 'ERR_DATASET_FILE_INVALID',
    asked: `Reading the dataset ${path} as JSON`,
    found,
    remedy:
      'Give a list of objects, or an object whose members are lists of objects; for one object per line use .jsonl.',
    cause,
    details: { path },
  })
}

/** Rows of a parsed file: a list, or an object of lists (such as `{ train: [...], test: [...] }`), joined in order. */
function toRows(value: unknown, path: string): readonly unknown[] {
  if (Array.isArray(value)) return value as unknown[]
  if (!isRecord(value)) throw invalid(path, `the file holds one ${kindOf(value)}`)
  const members = Object.entries(value)
  const other = members.find(([, member]) => !Array.isArray(member))
  if (other !== undefined)
    throw invalid(path, `its member ${JSON.stringify(other[0])} is ${kindOf(other[1])}, not a list`)
  return members.flatMap(([, member]) => member as unknown[])
}

/** A JSON file with a list of rows, or an object of such lists. The file is held in memory. */
export const jsonReader: DatasetReader = {
  id: 'json',
  extensions: ['.json'],
  async *doRead(path, { signal }) {
    const bytes = await readFile(path, { signal })
    const text = decodeUtf8(bytes)?.replace(/^\uFEFF/, '')
    if (text === undefined) throw invalid(path, `byte ${findInvalidUtf8(bytes) + 1} of the file is not UTF-8`)
    if (text.trim() === '') return
    let value: unknown
    try {
      value = JSON.parse(text)
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error)
      throw invalid(path, `${reason}; it begins ${JSON.stringify(previewBytes(bytes))}`, error)
    }
    for (const [index, row] of toRows(value, path).entries()) yield { index, value: row }
  },
}
