import type { ComparedAmount } from '@swift/energy'
import { SwiftError, type EnergyReport } from '@swift/spec'
import type { CommandCall } from '../../arguments/command.ts'
import { printJson, printLine } from '../../output/output.ts'
import { formatTable } from '../../output/table.ts'
import { ledgerFolder, tokensOf } from './ledger-folder.ts'
import { reportOptions } from './report-options.ts'

async function printComparison(
  [before, after]: readonly [EnergyReport, EnergyReport],
  tokens: readonly (number | undefined)[],
): Promise<void> {
  const { compareReports, formatJoules, formatJoulesPerToken, toJoules } = await import('@swift/energy')
  const percent = ({ change }: ComparedAmount): string =>
    change === undefined ? '' : `${change >= 0 ? '+' : ''}${(100 * change).toFixed(1)} %`
  printLine(
    `A: run ${before.runId}, ${before.durationSeconds.toFixed(1)} s · B: run ${after.runId}, ${after.durationSeconds.toFixed(1)} s`,
  )
  const rows = compareReports(before, after).map((one) => [
    one.key,
    one.energyClass,
    one.before === undefined ? 'unavailable' : formatJoules(one.before),
    one.after === undefined ? 'unavailable' : formatJoules(one.after),
    percent(one),
    one.isDistinct ? 'differs' : one.change === undefined ? '' : 'intervals overlap',
  ])
  printLine(formatTable([['', '', 'A', 'B', 'change', ''], ...rows]))
  const perToken = [before, after].map(({ phases }, index) => {
    const count = tokens[index]
    return count === undefined ? 'tokens unknown' : formatJoulesPerToken(phases.energy, count)
  })
  printLine(`J/token: A ${perToken[0]} · B ${perToken[1]}`)
  const seconds = (report: EnergyReport): number => report.durationSeconds
  const watts = (report: EnergyReport): string =>
    (['measured', 'modelled'] as const)
      .flatMap((energyClass) => {
        const amount = report.machine.energy[energyClass]
        return amount === undefined
          ? []
          : [`${(toJoules(amount.nanojoules) / Math.max(seconds(report), 1e-9)).toFixed(1)} W ${energyClass}`]
      })
      .join(' + ') || 'unavailable'
  printLine(`power of the machine: A ${watts(before)} · B ${watts(after)}`)
  const { journalLines } = await import('./print-report.ts')
  for (const [name, one] of [['A', before] as const, ['B', after] as const]) {
    for (const line of journalLines(one)) printLine(`${name}: ${line}`)
  }
}

/** `swift energy report DIR`, or `swift energy report --compare A B`. */
export async function report({ values, positionals, output }: CommandCall): Promise<number> {
  const { Ledger } = await import('@swift/energy')
  const options = await reportOptions(values)
  const folders = positionals.slice(1)
  if (values['compare'] !== true) {
    const folder = await ledgerFolder(folders[0])
    const made = await Ledger.report(folder, options)
    const [tokens, notes] = await Promise.all([tokensOf(folder, values), Ledger.notes(folder)])
    if (output.json) printJson({ type: 'energy-report', ...made, tokens, notes })
    else (await import('./print-report.ts')).printReport(made, tokens, notes)
    return 0
  }
  if (folders.length !== 2) {
    throw new SwiftError({
      code: 'ERR_ARGUMENT_MISSING',
      asked: 'swift energy report --compare',
      found: `${folders.length} folders`,
      remedy: 'Name two: swift energy report --compare RUN_A RUN_B',
    })
  }
  const [left, right] = [await ledgerFolder(folders[0]), await ledgerFolder(folders[1])]
  const both = [await Ledger.report(left, options), await Ledger.report(right, options)] as const
  const tokens = [await tokensOf(left, values), await tokensOf(right, values)]
  const { compareReports } = await import('@swift/energy')
  if (output.json)
    printJson({ type: 'energy-comparison', before: both[0], after: both[1], tokens, rows: compareReports(...both) })
  else await printComparison(both, tokens)
  return 0
}
