import type { CpuWatch } from './cpu-watch.ts'
import type { Limits } from './limits.ts'
import type { Row } from './row.ts'

/** Options of a suite by name: the text after `--name`, or `true` for a flag. */
export type SuiteOptions = ReadonlyMap<string, string | true>

/** What a suite is given. */
export interface SuiteContext {
  /** What was asked for, defaults filled in. */
  readonly options: SuiteOptions
  /** Watches other processes; suites register children with it. */
  readonly watch: CpuWatch
  /** The machine's limits, measured at the first call. */
  limits(): Limits
  /** Prints a line of progress. */
  say(line: string): void
  /** Notes the version of a peer that was measured. */
  version(name: string, version: string): void
}

/** A measurement with a name: one file in `suites/`, whose default export this is. */
export interface Suite {
  /** What it measures, in one line. */
  readonly summary: string
  /** Options with their meaning and default; undefined is no default. */
  readonly options: Readonly<Record<string, { readonly meaning: string; readonly default?: string }>>
  /** Measures. */
  run(context: SuiteContext): Promise<readonly Row[]>
}

/** A number among the options. @throws RangeError for a text that is no positive number */
export function numberOption(options: SuiteOptions, name: string): number {
  const text = options.get(name)
  const value = Number(text)
  if (typeof text !== 'string' || !Number.isFinite(value) || value <= 0) {
    throw new RangeError(`--${name} needs a positive number, got ${String(text)}`)
  }
  return value
}

/** One of several words among the options. @throws RangeError for another one */
export function choiceOption<Choice extends string>(
  options: SuiteOptions,
  name: string,
  choices: readonly Choice[],
): Choice {
  const text = options.get(name)
  const found = choices.find((choice) => choice === text)
  if (found === undefined) throw new RangeError(`--${name} is one of ${choices.join(', ')}, got ${String(text)}`)
  return found
}

/** A list of numbers, separated by commas. @throws RangeError */
export function numbersOption(options: SuiteOptions, name: string): readonly number[] {
  const text = options.get(name)
  const values = typeof text === 'string' ? text.split(',').map(Number) : []
  if (values.length === 0 || !values.every((value) => Number.isFinite(value) && value > 0)) {
    throw new RangeError(`--${name} needs positive numbers separated by commas, got ${String(text)}`)
  }
  return values
}
