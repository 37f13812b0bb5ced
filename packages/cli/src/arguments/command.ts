import type { OptionTable } from '@swift/spec'
import type { OutputMode } from '../output/output.ts'

/** Options by concern, as printed by `--help`. */
export type OptionGroups = Readonly<Record<string, OptionTable>>

/** What a command is run with. */
export interface CommandCall {
  /** Validated values, defaults filled in. */
  readonly values: Readonly<Record<string, unknown>>
  /** Names the user gave, on the command line or in a file. */
  readonly given: ReadonlySet<string>
  /** Arguments without a flag. */
  readonly positionals: readonly string[]
  /** Where and how to print. */
  readonly output: OutputMode
}

/** One command of the program. */
export interface Command {
  /** Word on the command line. */
  readonly name: string
  /** One sentence. */
  readonly summary: string
  /** Usage line after `swift <name>`. */
  readonly usage: string
  /** Commands to copy. */
  readonly examples: readonly string[]
  /** Options, loaded only when needed. */
  options(): Promise<OptionGroups>
  /** Runs it; the result is the exit code. */
  run(call: CommandCall): Promise<number>
}
