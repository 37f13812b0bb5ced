import { readFile } from 'node:fs/promises'
import type { CodecarbonRun } from '@swift/energy'
import { SwiftError } from '@swift/spec'
import type { CommandCall } from '../../arguments/command.ts'
import { printJson, printLine } from '../../output/output.ts'
import { formatTable } from '../../output/table.ts'

async function readRuns(path: string): Promise<readonly CodecarbonRun[]> {
  const { readCodecarbonCsv } = await import('@swift/energy')
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (cause) {
    throw new SwiftError({
      code: 'ERR_CODECARBON_FILE',
      asked: `CodeCarbon's record ${path}`,
      found: cause instanceof Error ? cause.message : String(cause),
      remedy: 'Name the emissions.csv that CodeCarbon wrote',
      cause,
    })
  }
  return readCodecarbonCsv(text, path)
}

/** `swift energy import emissions.csv`: what CodeCarbon recorded, for those who come from there. */
export async function importCodecarbon({ positionals, output }: CommandCall): Promise<number> {
  const { formatNumber } = await import('@swift/energy')
  const path = positionals[1]
  if (path === undefined) {
    throw new SwiftError({
      code: 'ERR_ARGUMENT_MISSING',
      asked: 'swift energy import',
      found: 'no file',
      remedy: 'Write swift energy import emissions.csv',
    })
  }
  const runs = await readRuns(path)
  if (output.json) {
    printJson({ type: 'energy-import', path, provenance: 'unknown', runs })
    return 0
  }
  const kilowattHours = (value: number | undefined): string =>
    value === undefined ? 'unavailable' : `${formatNumber(value)} kWh`
  printLine(
    formatTable([
      ['written', 'project', 'time', 'energy', 'CPU', 'GPU', 'memory', 'carbon'],
      ...runs.map((run) => [
        run.timestamp,
        run.project,
        `${formatNumber(run.durationSeconds)} s`,
        `${kilowattHours(run.energyKilowattHours)}${run.powerUsageEffectiveness === 1 ? '' : `, PUE ${run.powerUsageEffectiveness} in it`}`,
        kilowattHours(run.cpuKilowattHours),
        kilowattHours(run.gpuKilowattHours),
        kilowattHours(run.ramKilowattHours),
        run.emissionsGrams === undefined ? 'unavailable' : `${formatNumber(run.emissionsGrams)} gCO2e`,
      ]),
    ]),
  )
  printLine(
    'CodeCarbon does not say which of these joules were measured and which were modelled, and gives no interval: they are shown, and not put on a ledger',
  )
  return 0
}
