import { optionFlag, readOptionText, unknownOption } from '@swift/core'
import { SwiftError, type OptionDefinition, type OptionTable } from '@swift/spec'

/** Options and words of a command line, not yet checked against ranges. */
export interface ParsedArguments {
  /** Typed values by option name. */
  readonly values: Readonly<Record<string, unknown>>
  /** Words without a flag. */
  readonly positionals: readonly string[]
}

interface Target {
  readonly name: string
  readonly definition: OptionDefinition
  /** Key of an object option, for `--columns.question query`. */
  readonly key?: string
  /** `--no-packing` */
  readonly negated?: boolean
}

function spellings(table: OptionTable): ReadonlyMap<string, string> {
  const names = new Map<string, string>()
  for (const name of Object.keys(table)) {
    names.set(optionFlag(name), name)
    names.set(`--${name}`, name)
    names.set(`--${name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)}`, name)
  }
  return names
}

function findTarget(flag: string, table: OptionTable, names: ReadonlyMap<string, string>): Target {
  const direct = names.get(flag)
  if (direct !== undefined) return { name: direct, definition: table[direct] as OptionDefinition }
  const negative = flag.startsWith('--no-') ? names.get(`--${flag.slice('--no-'.length)}`) : undefined
  if (negative !== undefined && table[negative]?.type === 'boolean') {
    return { name: negative, definition: table[negative], negated: true }
  }
  const dot = flag.indexOf('.')
  const owner = dot < 0 ? undefined : names.get(flag.slice(0, dot))
  if (owner !== undefined && table[owner]?.type === 'object') {
    return { name: owner, definition: table[owner], key: flag.slice(dot + 1) }
  }
  throw unknownOption('swift', flag.replace(/^--/, ''), Object.keys(table))
}

function missingValue(flag: string, definition: OptionDefinition): SwiftError {
  return new SwiftError({
    code: 'ERR_OPTION_INVALID',
    asked: flag,
    found: 'no value follows it',
    remedy: `Write ${flag} VALUE. ${definition.description}`,
  })
}

function dottedValue(text: string): unknown {
  if (text === 'true' || text === 'false') return text === 'true'
  return text.trim() !== '' && Number.isFinite(Number(text)) ? Number(text) : text
}

function isFlag(word: string | undefined): boolean {
  return word !== undefined && /^--?[a-zA-Z]/.test(word)
}

/**
 * Reads `--name value`, `--name=value`, `--flag`, `--no-flag`, `--object.key value` and repeated lists. Names are taken
 * in kebab-case, camelCase or snake_case. After `--` every word is a positional.
 * @throws `ERR_OPTION_UNKNOWN` with a suggestion, `ERR_OPTION_INVALID`
 */
export function parseArguments(words: readonly string[], table: OptionTable): ParsedArguments {
  const names = spellings(table)
  const values: Record<string, unknown> = {}
  const positionals: string[] = []
  for (let at = 0; at < words.length; at++) {
    const word = words[at] as string
    if (word === '--') {
      positionals.push(...words.slice(at + 1))
      break
    }
    if (!isFlag(word)) {
      positionals.push(word)
      continue
    }
    const equals = word.indexOf('=')
    const flag = equals < 0 ? word : word.slice(0, equals)
    const { name, definition, key, negated } = findTarget(flag, table, names)
    let text = equals < 0 ? undefined : word.slice(equals + 1)
    if (negated === true) {
      values[name] = false
      continue
    }
    if (definition.type === 'boolean' && text === undefined) {
      const next = words[at + 1]
      if (next === 'true' || next === 'false') at += 1
      values[name] = next !== 'false'
      continue
    }
    if (text === undefined) {
      text = words[at + 1]
      if (text === undefined || isFlag(text)) throw missingValue(flag, definition)
      at += 1
    }
    if (key !== undefined) values[name] = { ...(values[name] as object | undefined), [key]: dottedValue(text) }
    else if (definition.type === 'string[]' && Array.isArray(values[name]))
      values[name] = [...(values[name] as string[]), ...(readOptionText(flag, text, definition) as string[])]
    else values[name] = readOptionText(flag, text, definition)
  }
  return { values, positionals }
}
