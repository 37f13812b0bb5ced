import { writeFile } from 'node:fs/promises'
import { SwiftError, type EnergyReport } from '@swift/spec'
import type { CommandCall } from '../../arguments/command.ts'
import { printJson, printLine } from '../../output/output.ts'
import { ledgerFolder, tokensOf } from './ledger-folder.ts'
import { reportOptions } from './report-options.ts'

/** Wall clock of the last commit. */
async function endOf(folder: string): Promise<Date> {
  const { Ledger } = await import('@swift/energy')
  const { parts } = await Ledger.series(folder, { maximumPoints: 1 })
  return new Date(parts.at(-1)?.endedUnixMs ?? Date.now())
}

async function render(folder: string, values: CommandCall['values']): Promise<string> {
  const energy = await import('@swift/energy')
  const totals = energy.Ledger.read(folder)
  // Only what derives carbon asks a provider for it.
  const report = async (): Promise<EnergyReport> => energy.Ledger.report(folder, await reportOptions(values))
  const format = values['format']
  switch (format) {
    case 'csv':
      return energy.exportCsv(totals)
    case 'prometheus':
      return energy.prometheusText(totals)
    case 'codecarbon':
      if (totals.energy.measured === undefined) {
        process.stderr.write('nothing was measured: the energy and emissions columns are empty\n')
      }
      return energy.codecarbonCsv(totals, await report(), { when: await endOf(folder) })
    case 'sci':
    case 'sci-markdown': {
      const tokens = await tokensOf(folder, values)
      const unit = tokens === undefined ? { name: 'run', count: 1 } : { name: 'token', count: tokens }
      const sci = energy.sciReport(await report(), unit)
      return format === 'sci' ? `${JSON.stringify(sci, null, 2)}\n` : energy.sciMarkdown(sci)
    }
    default:
      return energy.exportJsonl(totals)
  }
}

/** `swift energy export DIR --format …`: the ledger in a form that other tools read. */
export async function exportLedger({ values, positionals, output }: CommandCall): Promise<number> {
  const folder = await ledgerFolder(positionals[1], 'export')
  const text = await render(folder, values)
  const { Ledger } = await import('@swift/energy')
  const { journalLines } = await import('./print-report.ts')
  for (const line of journalLines({ journal: await Ledger.verify(folder) })) process.stderr.write(`${line}\n`)
  const { out } = values
  if (typeof out !== 'string') {
    process.stdout.write(text)
    return 0
  }
  try {
    await writeFile(out, text)
  } catch (cause) {
    throw new SwiftError({
      code: 'ERR_EXPORT_WRITE',
      asked: `Writing ${out}`,
      found: cause instanceof Error ? cause.message : String(cause),
      remedy: 'Name a file in a folder that exists and can be written',
      cause,
    })
  }
  if (output.json) printJson({ type: 'energy-export', format: values['format'], path: out, bytes: text.length })
  else printLine(`wrote ${out}`)
  return 0
}
