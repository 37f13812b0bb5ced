import type { Row, RowOrigin } from '@swift/spec'
import type { JsonRecord } from '../json-value.ts'
import { expectRecord } from '../json-value.ts'
import { readTools } from './column-aliases.ts'

export type RowFormatName = 'messages' | 'query-response' | 'alpaca' | 'sharegpt' | 'text'

/** One shape of rows in files. */
export interface RowFormat {
  readonly name: RowFormatName
  /** Whether a record has this shape; asked in a fixed order, the first match wins. */
  matches(record: JsonRecord): boolean
  /** Reads a record; what is wrong with it is thrown as a `RowProblem`. */
  toRow(record: JsonRecord, origin: RowOrigin): Row
  /** Writes a row in this shape; undefined when it cannot be said in it. */
  fromRow(row: Row): JsonRecord | undefined
}

/** Columns every format understands beside its own. */
export const commonColumns: readonly string[] = ['tools', 'chat_template_kwargs']

/** Reads `tools` and `chat_template_kwargs`. */
export function readCommonColumns(record: JsonRecord): Pick<Row, 'tools' | 'chatTemplateVariables'> {
  const variables = record['chat_template_kwargs']
  return {
    ...readTools(record['tools']),
    ...(variables === undefined || variables === null
      ? {}
      : { chatTemplateVariables: expectRecord(variables, 'chat_template_kwargs') }),
  }
}

/** The reverse of `readCommonColumns`, with the columns no format reads. */
export function writeCommonColumns(row: Row): JsonRecord {
  return {
    ...row.columns,
    ...(row.tools === undefined ? {} : { tools: row.tools }),
    ...(row.chatTemplateVariables === undefined ? {} : { chat_template_kwargs: row.chatTemplateVariables }),
  }
}
