import { mkdir, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { SwiftError } from '@swift/spec'
import type { RejectionReason } from './row-problem.ts'

/** A row that cannot be used, and why. */
export interface RejectedRow {
  readonly file: string
  /** From 1, for files read by lines. */
  readonly line?: number
  /** Position among the file's rows, from 0. */
  readonly index: number
  readonly reason: RejectionReason
  /** What exactly is wrong with it. */
  readonly detail: string
  /** Its first bytes, when it could not be parsed. */
  readonly preview?: string
  /** The row as it was read. */
  readonly row?: unknown
}

/** `file:line`, or `file row n` where there are no lines. */
export function describeOrigin({ file, line, index }: Pick<RejectedRow, 'file' | 'line' | 'index'>): string {
  return line === undefined ? `${file} row ${index}` : `${file}:${line}`
}

/** Rejected rows by reason, most frequent first. */
export function countByReason(rejected: readonly RejectedRow[]): Partial<Record<RejectionReason, number>> {
  const counts = new Map<RejectionReason, number>()
  for (const { reason } of rejected) counts.set(reason, (counts.get(reason) ?? 0) + 1)
  return Object.fromEntries([...counts].toSorted(([, left], [, right]) => right - left))
}

/**
 * Writes rejected rows to `rejected_rows.jsonl` in a folder and returns the path. Written aside and renamed.
 * @throws `ERR_DISK_FULL`, `ERR_FILE_WRITE`
 */
export async function writeRejectedRows(folder: string, rejected: readonly RejectedRow[]): Promise<string> {
  const path = join(folder, 'rejected_rows.jsonl')
  const temporary = `${path}.${process.pid}.tmp`
  try {
    await mkdir(folder, { recursive: true })
    await writeFile(temporary, rejected.map((row) => `${JSON.stringify(row)}\n`).join(''))
    await rename(temporary, path)
  } catch (cause) {
    await rm(temporary, { force: true }).catch(() => undefined)
    throw listError(path, rejected.length, cause)
  }
  return path
}

/** Why the list could not be written. */
function listError(path: string, count: number, cause: unknown): SwiftError {
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : String(cause)
  const isFull = code === 'ENOSPC' || code === 'EDQUOT'
  return new SwiftError({
    code: isFull ? 'ERR_DISK_FULL' : 'ERR_FILE_WRITE',
    asked: `Listing ${count} unusable rows in ${path}`,
    found: isFull ? `no space left on the device (${code})` : `the operating system said ${code}`,
    remedy: isFull ? 'Free some space or choose another outputDir' : 'Check the folder and its permissions',
    cause,
  })
}

/** How many rows were read and which could not be used. */
export interface RejectionSummary {
  readonly rowCount: number
  readonly rejected: readonly RejectedRow[]
  readonly maxRejectedFraction: number
  /** Where the rejected rows were written, when they were. */
  readonly path: string | undefined
}

/** Stops when more than the allowed fraction of rows cannot be used. */
export function checkRejectedFraction({ rowCount, rejected, maxRejectedFraction, path }: RejectionSummary): void {
  if (rejected.length <= rowCount * maxRejectedFraction) return
  const counts = countByReason(rejected)
  const [first] = rejected
  const byReason = Object.entries(counts).map(([reason, count]) => `${count} ${reason.replaceAll('_', ' ')}`)
  const isLength = (counts.too_long ?? 0) * 2 > rejected.length
  const example = first === undefined ? '' : `; the first is ${describeOrigin(first)}: ${first.detail}`
  const remedies = [
    isLength ? 'Raise maxLength or choose a truncation other than delete' : 'Repair the rows',
    ...(path === undefined ? [] : [`they are listed in ${path}`]),
    `or allow more with maxRejectedFraction (now ${maxRejectedFraction})`,
  ]
  throw new SwiftError({
    code: 'ERR_DATASET_TOO_MANY_REJECTED',
    asked: `Using ${rowCount} rows of ${[...new Set(rejected.map(({ file }) => file))].slice(0, 3).join(', ')}`,
    found: `${rejected.length} rows cannot be used (${byReason.join(', ')})${example}`,
    remedy: `${remedies.join('; ')}.`,
    details: { rowCount, rejectedCount: rejected.length, counts, path: path ?? null },
  })
}
