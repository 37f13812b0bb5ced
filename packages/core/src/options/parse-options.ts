import { SwiftError, type OptionDefinition, type OptionTable } from '@swift/spec'
import { nearestName } from './nearest-name.ts'

/** Values by option name, as the table's types say. */
export type OptionValues = Readonly<Record<string, unknown>>

function invalid(owner: string, name: string, value: unknown, definition: OptionDefinition, why: string): SwiftError {
  return new SwiftError({
    code: 'ERR_OPTION_INVALID',
    asked: `${owner}: ${name} = ${JSON.stringify(value) ?? String(value)}`,
    found: why,
    remedy: `${name}: ${definition.description}${describeDomain(definition)}`,
    details: { option: name },
  })
}

/** The allowed values of an option in words, for messages and help. */
export function describeDomain(definition: OptionDefinition): string {
  if (definition.choices !== undefined) return ` One of ${definition.choices.join(', ')}.`
  const { minimum, maximum } = definition
  if (minimum !== undefined && maximum !== undefined) return ` From ${minimum} to ${maximum}.`
  if (minimum !== undefined) return ` At least ${minimum}.`
  return maximum === undefined ? '' : ` At most ${maximum}.`
}

/** Whether a value has the type of its option; the reason when it has not. */
function typeProblem(value: unknown, { type }: OptionDefinition): string | undefined {
  const found = value === null ? 'null' : Array.isArray(value) ? 'a list' : typeof value
  switch (type) {
    case 'integer':
      return Number.isSafeInteger(value)
        ? undefined
        : `${typeof value === 'number' ? String(value) : found} is not a whole number`
    case 'number':
      return typeof value === 'number' && Number.isFinite(value) ? undefined : `${found} is not a finite number`
    case 'string[]':
      return Array.isArray(value) && value.every((entry) => typeof entry === 'string')
        ? undefined
        : `${found} is not a list of strings`
    case 'object':
      return typeof value === 'object' && value !== null && !Array.isArray(value)
        ? undefined
        : `${found} is not an object`
    default:
      return typeof value === type ? undefined : `${found} is not a ${type}`
  }
}

function domainProblem(value: unknown, { choices, minimum, maximum }: OptionDefinition): string | undefined {
  const entries = Array.isArray(value) ? (value as readonly unknown[]) : [value]
  const stray = choices === undefined ? undefined : entries.find((entry) => !choices.includes(String(entry)))
  if (stray !== undefined) {
    const suggestion = nearestName(String(stray), choices ?? [])
    return `it is not among the allowed values${suggestion === undefined ? '' : `; did you mean ${suggestion}?`}`
  }
  if (typeof value === 'number' && minimum !== undefined && value < minimum) return 'it is too small'
  if (typeof value === 'number' && maximum !== undefined && value > maximum) return 'it is too large'
  return undefined
}

/**
 * Checks values against an option table and fills in its defaults. Options without a default stay absent.
 *
 * A single string is accepted for a list of strings. `undefined` counts as left out; `null` does not.
 * @param owner - what the options belong to, for messages, e.g. `TrainerArguments`
 * @throws `ERR_OPTION_UNKNOWN` with the nearest known name; `ERR_OPTION_INVALID`; `ERR_OPTION_REQUIRED`
 */
export function parseOptions(owner: string, table: OptionTable, given: OptionValues): Record<string, unknown> {
  const values: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(given)) {
    if (value === undefined) continue
    const definition = Object.hasOwn(table, name) ? table[name] : undefined
    if (definition === undefined) throw unknownOption(owner, name, Object.keys(table))
    const typed = definition.type === 'string[]' && typeof value === 'string' ? [value] : value
    const problem = typeProblem(typed, definition) ?? domainProblem(typed, definition)
    if (problem !== undefined) throw invalid(owner, name, value, definition, problem)
    values[name] = typed
  }
  for (const [name, definition] of Object.entries(table)) {
    if (name in values) continue
    if (definition.required === true) {
      throw new SwiftError({
        code: 'ERR_OPTION_REQUIRED',
        asked: `${owner} without ${name}`,
        found: 'it is required',
        remedy: `${name}: ${definition.description}`,
        details: { option: name },
      })
    }
    if (definition.default !== undefined) values[name] = definition.default
  }
  return values
}

/** The error for a name that is in no table. */
export function unknownOption(owner: string, name: string, known: readonly string[]): SwiftError {
  const suggestion = nearestName(name, known)
  return new SwiftError({
    code: 'ERR_OPTION_UNKNOWN',
    asked: `${owner}: the option ${name}`,
    found: 'there is no such option',
    remedy: suggestion === undefined ? `Options are ${known.join(', ')}` : `Did you mean ${suggestion}?`,
    details: { option: name, ...(suggestion === undefined ? {} : { suggestion }) },
  })
}
