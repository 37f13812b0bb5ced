import { parseOptions } from '@swift/core'
import { SwiftError, type OptionTable } from '@swift/spec'
import type { OutputMode } from '../output/output.ts'
import type { Command, CommandCall } from './command.ts'
import { parseArguments } from './parse-arguments.ts'
import { readConfigFile } from './read-config-file.ts'

const configOption: OptionTable = {
  config: { type: 'string', description: 'YAML or JSON file with options; the command line wins.' },
}

function isConfigFile(word: string | undefined): word is string {
  return word !== undefined && /\.(ya?ml|json)$/.test(word)
}

/**
 * Joins command line and config file (the command line wins) and checks them against the command's tables.
 * @throws `ERR_OPTION_UNKNOWN`, `ERR_OPTION_INVALID`, `ERR_OPTION_REQUIRED`, `ERR_CONFIG_FILE`
 */
export async function prepareCall(
  command: Command,
  words: readonly string[],
  output: OutputMode,
): Promise<CommandCall> {
  const table: OptionTable = Object.assign({}, ...Object.values(await command.options()))
  const parsed = parseArguments(words, { ...table, ...configOption })
  const { config, ...fromWords } = parsed.values
  const positionals = [...parsed.positionals]
  const takesFiles = command.usage.includes('FILE.yaml')
  const path =
    typeof config === 'string' ? config : takesFiles && isConfigFile(positionals[0]) ? positionals.shift() : undefined
  const fromFile = path === undefined ? {} : await readConfigFile(path)
  const given = { ...fromFile, ...fromWords }
  if (!command.usage.includes('DIR') && positionals.length > 0) {
    throw new SwiftError({
      code: 'ERR_ARGUMENT_UNEXPECTED',
      asked: `swift ${command.name} ${positionals.join(' ')}`,
      found: `${positionals.length === 1 ? 'a word' : 'words'} without an option in front`,
      remedy: `Write options as --name value; swift ${command.name} --help lists them`,
    })
  }
  return {
    values: parseOptions(`swift ${command.name}`, table, given),
    given: new Set(Object.keys(given)),
    positionals,
    output,
  }
}
