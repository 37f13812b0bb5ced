import { readFile } from 'node:fs/promises'
import { SwiftError } from '@swift/spec'

/** An object from JSON before its members are checked. */
export type JsonObject = Readonly<Record<string, unknown>>

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isMissingFile(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT'
}

/** Text of a file without a byte order mark; undefined when there is no such file. */
export async function readTextFile(path: string): Promise<string | undefined> {
  try {
    return (await readFile(path, 'utf8')).replace(/^\uFEFF/, '')
  } catch (error) {
    if (isMissingFile(error)) return undefined
    throw new SwiftError({
      code: 'ERR_MODEL_FILE_UNREADABLE',
      asked: `Reading ${path}`,
      found: error instanceof Error ? error.message : String(error),
      remedy: 'Check the file and its permissions.',
      cause: error,
    })
  }
}

/** The object a JSON file holds; undefined when there is no such file. */
export async function readJsonFile(path: string): Promise<JsonObject | undefined> {
  const text = await readTextFile(path)
  if (text === undefined) return undefined
  let found: string
  let cause: unknown
  try {
    const value: unknown = JSON.parse(text)
    if (isJsonObject(value)) return value
    found = 'the file holds no JSON object'
  } catch (error) {
    found = error instanceof Error ? error.message : String(error)
    cause = error
  }
  throw new SwiftError({
    code: 'ERR_MODEL_FILE_INVALID',
    asked: `Reading ${path} as JSON`,
    found,
    remedy: 'Download the model folder again or repair the file.',
    cause,
    details: { path },
  })
}
