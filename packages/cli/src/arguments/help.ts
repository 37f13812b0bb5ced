import { optionFlag } from '@swift/core'
import type { OptionDefinition } from '@swift/spec'
import type { Command, OptionGroups } from './command.ts'

const width = 100

function wrap(text: string, indent: number): string {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width - indent) {
      lines.push(line)
      line = word
    } else line = line === '' ? word : `${line} ${word}`
  }
  return [...lines, line].join(`\n${' '.repeat(indent)}`)
}

function valueHint({ type, choices }: OptionDefinition): string {
  if (choices !== undefined && choices.join('|').length <= 40) return choices.join('|')
  switch (type) {
    case 'boolean':
      return ''
    case 'string[]':
      return 'A,B'
    case 'object':
      return 'JSON'
    case 'integer':
      return 'N'
    case 'number':
      return 'X'
    default:
      return 'TEXT'
  }
}

function defaultHint(definition: OptionDefinition): string {
  if (definition.required === true) return ' (required)'
  if (definition.derived !== undefined) return ` (default: ${definition.derived})`
  const { default: value } = definition
  if (value === undefined) return ''
  if (Array.isArray(value)) return value.length === 0 ? '' : ` (default: ${value.join(',')})`
  if (typeof value === 'object') return ''
  return ` (default: ${String(value)})`
}

function optionLines(groups: OptionGroups): string[] {
  return Object.entries(groups).flatMap(([title, table]) => [
    '',
    `${title}:`,
    ...Object.entries(table).flatMap(([name, definition]) => {
      const hint = valueHint(definition)
      const flag = `  ${optionFlag(name)}${hint === '' ? '' : ` ${hint}`}`
      const text = wrap(`${definition.description}${defaultHint(definition)}`, 34)
      return flag.length < 33 ? [`${flag.padEnd(34)}${text}`] : [flag, `${' '.repeat(34)}${text}`]
    }),
  ])
}

/** `swift COMMAND --help`. */
export function commandHelp(command: Command, groups: OptionGroups): string {
  return [
    `swift ${command.name}: ${command.summary}`,
    '',
    `usage: swift ${command.name} ${command.usage}`,
    ...optionLines(groups),
    '',
    'every command:',
    '  --config FILE                   YAML or JSON file with these options; the command line wins',
    '  --json                          one JSON object per line, for programs',
    '  --plain                         plain lines instead of the live view',
    '  --debug                         print the stack of an error',
    ...(command.examples.length === 0 ? [] : ['', 'examples:', ...command.examples.map((example) => `  ${example}`)]),
    '',
  ].join('\n')
}

/** `swift --help`. */
export function programHelp(commands: readonly Command[]): string {
  return [
    'swift: fine-tune, quantize and run language models, with every joule accounted for',
    '',
    'usage: swift COMMAND [options]',
    '',
    ...commands.map(({ name, summary }) => `  ${name.padEnd(10)}${summary}`),
    '',
    'swift COMMAND --help lists the options of a command; swift --version prints the version.',
    'The program is also installed as swift-llm.',
    '',
  ].join('\n')
}
