import { readFile } from 'node:fs/promises'
import { SwiftError } from '@swift/spec'
import type { Command } from './arguments/command.ts'
import { outputMode, printLine, type OutputMode } from './output/output.ts'
import { printError } from './output/print-error.ts'

/** Commands by name; a command's code is loaded when it runs. */
const loaders: Readonly<Record<string, () => Promise<Command>>> = {
  sft: async () => (await import('./commands/train.ts')).sft,
  pt: async () => (await import('./commands/train.ts')).pt,
  plan: async () => (await import('./commands/plan.ts')).plan,
  infer: async () => (await import('./commands/infer.ts')).infer,
  export: async () => (await import('./commands/export.ts')).exportCommand,
  energy: async () => (await import('./commands/energy.ts')).energy,
  dashboard: async () => (await import('./commands/dashboard.ts')).dashboard,
  doctor: async () => (await import('./commands/doctor.ts')).doctor,
}

async function version(): Promise<string> {
  const manifest = JSON.parse(await readFile(new URL('../package.json', import.meta.url), 'utf8')) as {
    version: string
  }
  return manifest.version
}

async function unknownCommand(name: string): Promise<SwiftError> {
  const { nearestName } = await import('@swift/core')
  const known = Object.keys(loaders)
  const suggestion = nearestName(name, known)
  return new SwiftError({
    code: 'ERR_COMMAND_UNKNOWN',
    asked: `swift ${name}`,
    found: 'there is no such command',
    remedy: suggestion === undefined ? `Commands are ${known.join(', ')}` : `Did you mean swift ${suggestion}?`,
  })
}

/** Takes a switch out of a list of words. */
function takeSwitch(words: string[], ...spellings: readonly string[]): boolean {
  const end = words.indexOf('--')
  const at = words.findIndex((word, index) => spellings.includes(word) && (end < 0 || index < end))
  if (at < 0) return false
  words.splice(at, 1)
  return true
}

async function runCommand(command: Command, words: string[], output: OutputMode): Promise<number> {
  const { prepareCall } = await import('./arguments/prepare-call.ts')
  return command.run(await prepareCall(command, words, output))
}

/**
 * Runs the program.
 * @param argv - words after the program's name
 * @returns the exit code: 0 done, 1 a fault of the program, 2 a coded error, 130 interrupted
 */
export async function main(argv: readonly string[]): Promise<number> {
  const words = [...argv]
  const flags = {
    json: takeSwitch(words, '--json'),
    plain: takeSwitch(words, '--plain'),
    debug: takeSwitch(words, '--debug'),
  }
  const help = takeSwitch(words, '--help', '-h')
  const output = outputMode(flags)
  try {
    if (takeSwitch(words, '--version', '-v')) {
      printLine(await version())
      return 0
    }
    const name = words.shift()
    if (name === undefined || name === 'help') {
      const { programHelp } = await import('./arguments/help.ts')
      printLine(programHelp(await Promise.all(Object.values(loaders).map((load) => load()))))
      return 0
    }
    const load = Object.hasOwn(loaders, name) ? loaders[name] : undefined
    if (load === undefined) throw await unknownCommand(name)
    const command = await load()
    if (help) {
      const { commandHelp } = await import('./arguments/help.ts')
      printLine(commandHelp(command, await command.options()))
      return 0
    }
    return await runCommand(command, words, output)
  } catch (error) {
    return printError(error, output)
  }
}
