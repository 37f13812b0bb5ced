import { SwiftError, type OptionDefinition } from '@swift/spec'

const numberText = /^[+-]?(\d[\d_]*\.?\d*|\.\d+)(e[+-]?\d+)?$/i

function unreadable(name: string, text: string, definition: OptionDefinition, remedy: string): SwiftError {
  return new SwiftError({
    code: 'ERR_OPTION_INVALID',
    asked: `${name} ${text}`,
    found: `it does not read as ${definition.type === 'integer' ? 'a whole number' : `a ${definition.type}`}`,
    remedy,
    details: { option: name },
  })
}

/**
 * The typed value of an option written as text, as on the command line: `true`/`false` for booleans, numbers with
 * optional exponent and underscores, lists separated by commas, objects as JSON. Ranges and choices are checked by
 * `parseOptions`.
 * @throws `ERR_OPTION_INVALID`
 */
export function readOptionText(name: string, text: string, definition: OptionDefinition): unknown {
  switch (definition.type) {
    case 'string':
      return text
    case 'string[]':
      return text
        .split(',')
        .map((entry) => entry.trim())
        .filter((entry) => entry !== '')
    case 'boolean':
      if (text === 'true' || text === 'false') return text === 'true'
      throw unreadable(name, text, definition, 'Write true or false')
    case 'number':
    case 'integer':
      if (numberText.test(text.trim())) return Number(text.replaceAll('_', ''))
      throw unreadable(name, text, definition, 'Write a number such as 8 or 1e-4')
    case 'object':
      try {
        return JSON.parse(text) as unknown
      } catch (cause) {
        throw new SwiftError({
          code: 'ERR_OPTION_INVALID',
          asked: `${name} ${text}`,
          found: 'it is not JSON',
          remedy: `Write an object such as '{"key": 1}'`,
          cause,
        })
      }
  }
}

/** The spelling of an option on the command line: `learningRate` → `--learning-rate`, `loadIn4bit` → `--load-in-4bit`. */
export function optionFlag(name: string): string {
  return `--${name.replaceAll(/(?<=[a-z0-9])(?=[A-Z])|(?<=[a-z])(?=\d+[a-z])/g, '-').toLowerCase()}`
}
