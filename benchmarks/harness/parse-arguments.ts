import type { Suite, SuiteOptions } from './suite.ts'

/** What the command line of a suite says. */
export interface SuiteArguments {
  /** Results file asked for. */
  readonly json: string | undefined
  /** Options, defaults filled in. */
  readonly options: SuiteOptions
}

/** Reads `--name value`, `--name=value` and flags. @throws RangeError for a name the suite does not have */
export function parseArguments(texts: readonly string[], table: Suite['options']): SuiteArguments {
  const options = new Map<string, string | true>()
  for (const [name, { default: value }] of Object.entries(table)) if (value !== undefined) options.set(name, value)
  let json: string | undefined
  for (let index = 0; index < texts.length; index++) {
    const text = texts[index] as string
    // pnpm hands over the separator itself.
    if (text === '--') continue
    const [, name, value] = /^--([\w-]+)(?:=(.*))?$/.exec(text) ?? []
    if (name === undefined || (name !== 'json' && !(name in table))) {
      throw new RangeError(
        `unknown argument ${text}; this suite takes --json ${Object.keys(table)
          .map((key) => `--${key}`)
          .join(' ')}`,
      )
    }
    const next = texts[index + 1]
    const given = value ?? (next === undefined || next.startsWith('--') ? true : next)
    if (value === undefined && given !== true) index += 1
    if (name !== 'json') options.set(name, given)
    else if (typeof given === 'string') json = given
    else throw new RangeError('--json needs a file')
  }
  return { json, options }
}
