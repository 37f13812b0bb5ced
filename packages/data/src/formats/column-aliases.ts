import { isRecord, type JsonRecord } from '../json-value.ts'
import { RowProblem } from '../row-problem.ts'

/** Columns that files write under several names. */
export type StandardColumn = 'messages' | 'query' | 'response' | 'text' | 'system'

/** Names under which columns come, the standard name first; the first one present and not null is used. */
export const columnAliases: Readonly<Record<StandardColumn, readonly string[]>> = {
  messages: ['messages', 'conversation', 'conversations'],
  query: ['query', 'prompt', 'input', 'instruction', 'question', 'problem'],
  response: [
    'response',
    'answer',
    'output',
    'targets',
    'target',
    'answer_key',
    'answers',
    'solution',
    'text',
    'completion',
    'content',
  ],
  text: ['text', 'content', 'completion', 'response'],
  system: ['system', 'system_prompt'],
}

/** The alias a record uses for a column; undefined when it has none that is not null. */
export function findColumn(record: JsonRecord, column: StandardColumn): string | undefined {
  return columnAliases[column].find((name) => record[name] !== undefined && record[name] !== null)
}

/** Renames columns as the user asked: `{ nameInFile: standardName }`. A name already taken rejects the row. */
export function renameColumns(record: JsonRecord, columns: Readonly<Record<string, string>>): JsonRecord {
  const renamed: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(record)) {
    const target = Object.hasOwn(columns, name) ? (columns[name] ?? name) : name
    if (Object.hasOwn(renamed, target)) {
      throw new RowProblem('invalid_field', `two columns are called ${target} after renaming`)
    }
    renamed[target] = value
  }
  return renamed
}

/** Columns of a record that no format reads. */
export function otherColumns(record: JsonRecord, used: readonly (string | undefined)[]): JsonRecord {
  const rest = Object.entries(record).filter(([name]) => !used.includes(name))
  return Object.fromEntries(rest)
}

/** A list that may also come as its JSON text, as sharegpt files write `tools`. */
export function parseMaybeJson(value: unknown, field: string): unknown {
  if (typeof value !== 'string') return value
  if (value.trim() === '') return undefined
  try {
    return JSON.parse(value) as unknown
  } catch {
    throw new RowProblem('invalid_field', `${field} is text but not JSON`)
  }
}

/** `tools`: a list of objects or its JSON text; null and an empty list are no tools. */
export function readTools(value: unknown): { tools: readonly JsonRecord[] } | undefined {
  const tools = parseMaybeJson(value, 'tools')
  if (tools === undefined || tools === null) return undefined
  if (!Array.isArray(tools) || !tools.every(isRecord)) {
    throw new RowProblem('invalid_field', 'tools is not a list of objects')
  }
  return tools.length === 0 ? undefined : { tools }
}
