import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import type { Machine } from './machine.ts'
import type { Row } from './row.ts'

/** A results file. */
export interface Result {
  readonly suite: string
  readonly machine: Machine
  readonly versions: Readonly<Record<string, string>>
  /** Commit of the checkout, `+changes` where it was changed. */
  readonly commit: string
  /** Start, in UTC. */
  readonly date: string
  /** Options it ran with. */
  readonly options: Readonly<Record<string, string | true>>
  readonly seconds: number
  readonly rows: readonly Row[]
}

const required = ['suite', 'machine', 'versions', 'commit', 'rows']
const requiredOfRow = ['name', 'unit', 'ours', 'peer', 'ratio', 'limit', 'fractionOfLimit']

/** Reads a results file's text. @throws TypeError naming what is missing or has the wrong type */
export function parseResult(text: string): Result {
  const value = JSON.parse(text) as Record<string, unknown>
  const missing = required.filter((name) => !(name in value))
  if (missing.length > 0) throw new TypeError(`a result needs ${missing.join(', ')}`)
  if (!Array.isArray(value['rows'])) throw new TypeError('rows must be a list')
  for (const [index, row] of (value['rows'] as Record<string, unknown>[]).entries()) {
    for (const name of requiredOfRow) {
      const field = row[name]
      const isText = name === 'name' || name === 'unit'
      const fits = isText ? typeof field === 'string' : field === null || typeof field === 'number'
      if (!fits) throw new TypeError(`row ${index}: ${name} is ${JSON.stringify(field)}`)
    }
  }
  return value as unknown as Result
}

/** Writes a results file, having read it back: what is written is a result. */
export function writeResult(path: string, result: Result): void {
  const text = `${JSON.stringify(result, null, 2)}\n`
  parseResult(text)
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, text)
}
