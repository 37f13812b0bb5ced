import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { availableParallelism, cpus, loadavg, release, totalmem } from 'node:os'
import { fileURLToPath } from 'node:url'
import { describeCpu } from '@swift/tensor'

/** Root of the repository. */
export const repository: string = fileURLToPath(new URL('../..', import.meta.url))

/** The machine of a measurement. */
export interface Machine {
  readonly processor: string
  /** Family, model and stepping, where the name alone hides the generation (virtual machines). */
  readonly processorId: string | null
  readonly cores: number
  readonly memoryBytes: number
  readonly instructionSets: readonly string[]
  readonly instructionSet: string
  readonly threads: number
  readonly system: string
  /** Load average over one minute as the suite began. */
  readonly loadAverage: number
}

function cpuField(text: string, name: string): string | undefined {
  return new RegExp(`^${name}\\s*:\\s*(.+)$`, 'm').exec(text)?.[1]
}

function processorId(): string | null {
  try {
    const text = readFileSync('/proc/cpuinfo', 'utf8')
    const [family, model, stepping] = ['cpu family', 'model', 'stepping'].map((name) => cpuField(text, name))
    return family === undefined ? null : `family ${family}, model ${model}, stepping ${stepping}`
  } catch {
    return null
  }
}

/** Describes this machine. */
export function describeMachine(): Machine {
  const { isa, available, threads } = describeCpu()
  return {
    processor: cpus()[0]?.model ?? 'unknown',
    processorId: processorId(),
    cores: availableParallelism(),
    memoryBytes: totalmem(),
    instructionSets: available,
    instructionSet: isa,
    threads,
    system: `${process.platform} ${release()}`,
    loadAverage: loadavg()[0] ?? 0,
  }
}

/** Commit of the checkout, with `+changes` where files differ from it; `unknown` outside of git. */
export function describeCommit(): string {
  try {
    const git = (...args: string[]): string =>
      execFileSync('git', args, { cwd: repository, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
    // Results and generated documents are what a suite writes; they do not change what is measured.
    const changed = git('status', '--porcelain', '--', '.', ':!benchmarks/results', ':!docs')
    return `${git('rev-parse', 'HEAD')}${changed === '' ? '' : '+changes'}`
  } catch {
    return 'unknown'
  }
}

/** Versions of ours; peers add their own. */
export function ownVersions(): Record<string, string> {
  const manifest = JSON.parse(readFileSync(new URL('../../packages/core/package.json', import.meta.url), 'utf8')) as {
    version: string
  }
  return { '@swift/core': manifest.version, node: process.versions.node }
}
