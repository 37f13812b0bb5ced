import { glob, readdir, stat } from 'node:fs/promises'
import { extname, join } from 'node:path'
import { SwiftError, type DatasetReader } from '@swift/spec'
import { jsonReader } from './json-reader.ts'
import { jsonlReader } from './jsonl-reader.ts'
import { textReader } from './text-reader.ts'

/** A file to read and who reads it. */
export interface SourceFile {
  readonly path: string
  readonly reader: DatasetReader
}

/** One source as it was asked for. */
export interface DatasetSource {
  /** As written, for messages. */
  readonly specifier: string
  readonly files: readonly SourceFile[]
  /** Rows to take from all of its files together; undefined for all. */
  readonly count: number | undefined
}

/** Readers this package brings. */
export const builtInReaders: readonly DatasetReader[] = [jsonlReader, jsonReader, textReader]

/** Splits `path#count`. A `#` not followed by digits belongs to the path. */
export function parseSpecifier(specifier: string): { path: string; count: number | undefined } {
  const match = /^(.*)#(\d+)$/s.exec(specifier)
  return match === null ? { path: specifier, count: undefined } : { path: match[1] ?? '', count: Number(match[2]) }
}

function missing(specifier: string, found: string): SwiftError {
  return new SwiftError({
    code: 'ERR_DATASET_NOT_FOUND',
    asked: `Reading the dataset ${specifier}`,
    found,
    remedy: 'Give a file, a folder, or a pattern such as data/*.jsonl, optionally followed by #count.',
    details: { specifier },
  })
}

function findReader(path: string, readers: readonly DatasetReader[]): DatasetReader | undefined {
  const extension = extname(path).toLowerCase()
  return readers.find(({ extensions }) => extensions.includes(extension))
}

async function listFolder(folder: string, readers: readonly DatasetReader[]): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  return entries
    .filter((entry) => entry.isFile() && findReader(entry.name, readers) !== undefined)
    .map((entry) => join(entry.parentPath, entry.name))
    .toSorted()
}

async function expandPath(path: string, specifier: string, readers: readonly DatasetReader[]): Promise<string[]> {
  const found = await stat(path).catch(() => undefined)
  if (found?.isFile() === true) return [path]
  if (found?.isDirectory() === true) {
    const files = await listFolder(path, readers)
    if (files.length > 0) return files
    const known = readers.flatMap(({ extensions }) => extensions)
    throw missing(specifier, `the folder holds no file ending in ${known.join(', ')}`)
  }
  if (!/[*?[{]/.test(path)) throw missing(specifier, 'there is no such file or folder')
  const files: string[] = []
  for await (const file of glob(path)) files.push(file)
  if (files.length === 0) throw missing(specifier, 'no file matches the pattern')
  return files.toSorted()
}

/** Finds the files of one source and their readers; readers given first win over the built-in ones. */
export async function resolveSource(
  specifier: string,
  extraReaders: readonly DatasetReader[] = [],
): Promise<DatasetSource> {
  const readers = [...extraReaders, ...builtInReaders]
  // A file whose name really ends in #digits is meant before a count.
  const isPlainFile = await stat(specifier).then(
    (found) => found.isFile(),
    () => false,
  )
  const { path, count } = isPlainFile ? { path: specifier, count: undefined } : parseSpecifier(specifier)
  if (count === 0) throw missing(specifier, '#0 asks for no rows')
  const paths = await expandPath(path, specifier, readers)
  const files = paths.map((file) => {
    const reader = findReader(file, readers)
    if (reader !== undefined) return { path: file, reader }
    throw new SwiftError({
      code: 'ERR_DATASET_FORMAT_UNKNOWN',
      asked: `Reading the dataset ${file}`,
      found: `no reader for files ending in ${JSON.stringify(extname(file))}`,
      remedy: `Use one of ${readers.flatMap(({ extensions }) => extensions).join(', ')}, or register a reader for it.`,
      details: { path: file },
    })
  })
  return { specifier, files, count }
}
