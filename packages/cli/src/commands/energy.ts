import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { SwiftError, type EnergyReport, type OptionTable } from '@swift/spec'
import type { Command, CommandCall } from '../arguments/command.ts'
import { printJson, printLine } from '../output/output.ts'
import { formatTable } from '../output/table.ts'

const options: OptionTable = {
  per: {
    type: 'string',
    default: 'epoch',
    choices: ['epoch', 'phase', 'account', 'path'],
    description: 'Rows of the report.',
  },
  zone: {
    type: 'string',
    derived: 'SWIFT_CARBON_ZONE, else the world',
    description: 'Country or grid zone of the carbon factor, e.g. DEU.',
  },
  pue: {
    type: 'number',
    default: 1,
    minimum: 1,
    maximum: 10,
    description: 'Power usage effectiveness of the building; only derived figures use it.',
  },
}

/** The ledger's folder: the one named, or `energy` inside a run's folder. */
async function ledgerFolder(folder: string | undefined): Promise<string> {
  if (folder === undefined) {
    throw new SwiftError({
      code: 'ERR_ARGUMENT_MISSING',
      asked: 'swift energy without a folder',
      found: 'no run to look at',
      remedy: 'Write swift energy report RUN_FOLDER',
    })
  }
  const inside = join(folder, 'energy')
  const isThere = async (path: string): Promise<boolean> =>
    (await stat(path).catch(() => undefined))?.isDirectory() === true
  if (await isThere(inside)) return inside
  if (await isThere(folder)) return folder
  throw new SwiftError({
    code: 'ERR_LEDGER_MISSING',
    asked: `The energy ledger of ${folder}`,
    found: 'there is no such folder',
    remedy: 'Name the folder of a run, or its energy folder',
  })
}

async function printReport(report: EnergyReport): Promise<void> {
  const { formatCarbonSplit, formatEnergySplit } = await import('@swift/core')
  const row = ({ key, energy, carbon }: EnergyReport['phases']): string[] => [
    key,
    formatEnergySplit(energy),
    formatCarbonSplit(carbon),
  ]
  printLine(
    `run ${report.runId} · ${report.durationSeconds.toFixed(1)} s · carbon factor ${report.factor.zone} ${report.factor.gramsPerKilowattHour} g/kWh · PUE ${report.powerUsageEffectiveness}`,
  )
  printLine(
    formatTable([
      ...report.rows.map(row),
      row({ ...report.phases, key: 'all phases' }),
      row({ ...report.machine, key: 'machine' }),
    ]),
  )
  for (const source of report.sources) printLine(`source ${source.id}: ${source.state}, ${source.reason}`)
  for (const gap of report.gaps)
    printLine(
      `gap ${JSON.stringify(gap, (_key, value: unknown) => (typeof value === 'bigint' ? value.toString() : value))}`,
    )
}

async function report({ values, positionals, output }: CommandCall): Promise<number> {
  const { Ledger } = await import('@swift/core')
  const made = await Ledger.report(await ledgerFolder(positionals[1]), {
    per: values['per'] as EnergyReport['per'],
    pue: values['pue'] as number,
    ...(values['zone'] === undefined ? {} : { zone: values['zone'] as string }),
  })
  if (output.json) printJson({ type: 'energy-report', ...made })
  else await printReport(made)
  return 0
}

async function verify({ positionals, output }: CommandCall): Promise<number> {
  const { Ledger } = await import('@swift/core')
  const result = await Ledger.verify(await ledgerFolder(positionals[1]))
  if (output.json) printJson({ type: 'energy-verification', ...result })
  else
    printLine(
      formatTable(
        Object.entries(result).map(([name, value]) => [
          name,
          typeof value === 'object'
            ? JSON.stringify(value, (_key, entry: unknown) => (typeof entry === 'bigint' ? entry.toString() : entry))
            : String(value),
        ]),
      ),
    )
  return result.ok ? 0 : 2
}

async function sources({ output }: CommandCall): Promise<number> {
  const { Ledger } = await import('@swift/core')
  const found = Ledger.sources()
  if (output.json) printJson({ type: 'energy-sources', sources: found })
  else
    printLine(
      formatTable(found.map((source) => [source.id, source.scope, source.state, source.provenance, source.reason])),
    )
  return 0
}

const actions: Readonly<Record<string, (call: CommandCall) => Promise<number>>> = { report, verify, sources }

/** `swift energy report|verify|sources`. */
export const energy: Command = {
  name: 'energy',
  summary: 'report or verify the joule ledger of a run, or list the energy sources',
  usage: 'report|verify|sources [RUN_DIR] [options]',
  examples: [
    'swift energy report runs/first --per phase --zone FRA',
    'swift energy verify runs/first',
    'swift energy sources',
  ],
  options: () => Promise.resolve({ energy: options }),
  run: async (call) => {
    const [name] = call.positionals
    const action = name !== undefined && Object.hasOwn(actions, name) ? actions[name] : undefined
    if (action !== undefined) return action(call)
    throw new SwiftError({
      code: 'ERR_ARGUMENT_UNEXPECTED',
      asked: `swift energy ${name ?? ''}`.trim(),
      found: 'energy needs one of its actions',
      remedy: `Actions are ${Object.keys(actions).join(', ')}`,
    })
  },
}
