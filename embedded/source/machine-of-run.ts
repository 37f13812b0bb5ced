import { readFileSync } from 'node:fs'
import { cpus, totalmem } from 'node:os'
import { describeCpu } from '@swift/tensor'

/** The machine and versions of a measurement, as written beside its numbers. */
export function machineOfRun(): Readonly<Record<string, unknown>> {
  const manifest = JSON.parse(readFileSync(new URL('../../packages/core/package.json', import.meta.url), 'utf8')) as {
    version: string
  }
  return {
    processor: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memoryBytes: totalmem(),
    cpu: describeCpu(),
    node: process.version,
    core: manifest.version,
  }
}
