import { RowProblem } from './row-problem.ts'

/** An object from JSON before its members are checked. */
export type JsonRecord = Readonly<Record<string, unknown>>

export function isRecord(value: unknown): value is JsonRecord {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Names the kind of a JSON value for messages: `null`, `array`, `object`, `string`, … */
export function kindOf(value: unknown): string {
  if (value === null) return 'null'
  return Array.isArray(value) ? 'array' : typeof value
}

/** A string, or the row is rejected: numbers are not turned into text behind the author's back. */
export function expectText(value: unknown, field: string): string {
  if (typeof value === 'string') return value
  throw new RowProblem('invalid_field', `${field} is ${kindOf(value)}, not text`)
}

/** As `expectText`, with undefined for a field that is absent or null. */
export function optionalText(value: unknown, field: string): string | undefined {
  return value === undefined || value === null ? undefined : expectText(value, field)
}

/** A list, or the row is rejected. */
export function expectList(value: unknown, field: string): readonly unknown[] {
  if (Array.isArray(value)) return value as unknown[]
  throw new RowProblem('invalid_field', `${field} is ${kindOf(value)}, not a list`)
}

/** An object, or the row is rejected. */
export function expectRecord(value: unknown, field: string): JsonRecord {
  if (isRecord(value)) return value
  throw new RowProblem('invalid_field', `${field} is ${kindOf(value)}, not an object`)
}
