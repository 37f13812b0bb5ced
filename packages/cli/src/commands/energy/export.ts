import { writeFile } from 'node:fs/promises'
import { SwiftError, type EnergyReport, type LedgerTotals } from '@swift/spec'
import type { CommandCall } from '../../arguments/command.ts'
import { printJson, printLine } from '../../output/output.ts'
import { atTimeOf, ledgerFolder, reportOptions, tokensOf } from './ledger-folder.ts'

async function render(
  format: string,
  totals: LedgerTotals,
  report: EnergyReport,
  tokens: number | undefined,
): Promise<string> {
  const { codecarbonCsv, exportCsv, exportJsonl, prometheusText, sciMarkdown, sciReport } =
    await import('@swift/energy')
  switch (format) {
    case 'csv':
      return exportCsv(totals)
    case 'prometheus':
      return prometheusText(totals)
    case 'codecarbon':
      return codecarbonCsv(totals, report)
    case 'sci':
    case 'sci-markdown': {
      const sci = sciReport(report, tokens === undefined ? { name: 'run', count: 1 } : { name: 'token', count: tokens })
      return format === 'sci' ? `${JSON.stringify(sci, null, 2)}\n` : sciMarkdown(sci)
    }
    default:
      return exportJsonl(totals)
  }
}

/** `swift energy export DIR --format …`: the ledger in a form that other tools read. */
export async function exportLedger({ values, positionals, output }: CommandCall): Promise<number> {
  const { buildReport, Ledger } = await import('@swift/energy')
  const folder = await ledgerFolder(positionals[1], 'export')
  const totals = Ledger.read(folder)
  const report = await buildReport(totals, await atTimeOf(folder, await reportOptions(values)))
  const text = await render(values['format'] as string, totals, report, await tokensOf(folder, values))
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
