import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const program = fileURLToPath(new URL('../../packages/cli/src/bin.ts', import.meta.url))

/** Words that start the command from its sources. */
export const swiftCommand: readonly string[] = [process.execPath, '--conditions=@swift/source', program]

/** How one call of the command ended. */
export interface SwiftRun {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
  /** Lines of standard output as JSON, for calls with `--json`. */
  json(): Readonly<Record<string, unknown>>[]
}

/** How a call is made. */
export interface SwiftCall {
  /** Folder it runs in. */
  readonly cwd?: string
  /** Called with the process and all output so far, whenever there is more. */
  readonly onOutput?: (process: ChildProcessWithoutNullStreams, stdout: string) => void
  /** Further variables. */
  readonly env?: Readonly<Record<string, string>>
}

/** Runs any program as {@link runSwift} runs the command. */
export async function runProgram(words: readonly string[], call: SwiftCall = {}): Promise<SwiftRun> {
  const [name = '', ...rest] = words
  const child = spawn(name, rest, { cwd: call.cwd, env: { ...process.env, ...call.env } })
  child.stdin.end()
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
    call.onOutput?.(child, stdout)
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (ended) => resolve(ended))
  })
  const json = (): Readonly<Record<string, unknown>>[] =>
    stdout
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Record<string, unknown>)
  return { code, stdout, stderr, json }
}

/** Runs the real command in a process of its own; its output is no terminal. */
export function runSwift(words: readonly string[], call: SwiftCall = {}): Promise<SwiftRun> {
  return runProgram([...swiftCommand, ...words], call)
}
