import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { repositoryRoot } from './repository-root.ts'

export interface RunCommandOptions {
  /** Working directory; default: the repository root. */
  readonly folder?: string
  /** Added to the environment. */
  readonly environment?: Readonly<Record<string, string>>
  /** Receives each line of standard output instead of the terminal. Standard error always goes to the terminal. */
  readonly onLine?: (line: string) => void
}

/** Runs a command to its end and returns its exit status; a command that cannot start rejects. Never reads stdin. */
export function runCommand(
  command: string,
  commandArguments: readonly string[],
  options: RunCommandOptions = {},
): Promise<number> {
  return new Promise((resolve, reject) => {
    const { onLine } = options
    const child = spawn(command, [...commandArguments], {
      cwd: options.folder ?? repositoryRoot,
      env: { ...process.env, ...options.environment },
      stdio: ['ignore', onLine ? 'pipe' : 'inherit', 'inherit'],
      shell: process.platform === 'win32',
    })
    if (onLine && child.stdout) createInterface({ input: child.stdout }).on('line', onLine)
    child.on('error', (cause) => reject(new Error(`could not start \`${command}\`: ${cause.message}`, { cause })))
    child.on('close', (status) => resolve(status ?? 1))
  })
}
