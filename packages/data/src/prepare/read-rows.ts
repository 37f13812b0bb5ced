import type { DatasetReader, Row } from '@swift/spec'
import type { RowFormatName } from '../formats/row-format.ts'
import { toRow } from '../formats/row-formats.ts'
import { resolveSource } from '../reading/dataset-source.ts'
import { sampleRecords } from '../reading/sample-records.ts'
import type { RejectedRow } from '../rejected-rows.ts'
import { RowProblem } from '../row-problem.ts'
import { brokenReason, reject } from './tokenise-rows.ts'

/** What to read. */
export interface ReadRowsOptions {
  /** Files, folders or globs, each with an optional `#count`. */
  readonly sources: readonly string[]
  /** Shape of the rows. Default `auto`. */
  readonly format?: RowFormatName | 'auto'
  /** Column of the file → standard column. */
  readonly columns?: Readonly<Record<string, string>>
  /** Decides samples. Default 42. */
  readonly seed?: number
  /** Readers that win over the built-in ones. */
  readonly readers?: readonly DatasetReader[]
}

/** Reads rows without tokenising them. @throws `ERR_DATASET_NOT_FOUND`, `ERR_DATASET_FORMAT_UNKNOWN` */
export async function readRows(options: ReadRowsOptions): Promise<{ rows: Row[]; rejected: RejectedRow[] }> {
  const { sources, format = 'auto', columns = {}, seed = 42, readers } = options
  const rows: Row[] = []
  const rejected: RejectedRow[] = []
  for (const specifier of sources) {
    for await (const { file, record } of sampleRecords(await resolveSource(specifier, readers), { seed })) {
      if (record.problem !== undefined) {
        rejected.push(reject(file, record, brokenReason(record), record.problem))
        continue
      }
      try {
        rows.push(toRow(record, file, format, columns))
      } catch (error) {
        if (!(error instanceof RowProblem)) throw error
        rejected.push(reject(file, record, error.reason, error.message))
      }
    }
  }
  return { rows, rejected }
}
