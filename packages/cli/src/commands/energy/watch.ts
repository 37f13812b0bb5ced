import { setTimeout as sleep } from 'node:timers/promises'
import type { EnergyReport, LedgerTotals } from '@swift/spec'
import type { CommandCall } from '../../arguments/command.ts'
import { printJson, printLine } from '../../output/output.ts'
import { formatTable } from '../../output/table.ts'
import { interruption } from '../interruption.ts'
import { ledgerFolder } from './ledger-folder.ts'
import { reportOptions } from './report-options.ts'

/** A ledger commits every second; it is looked at as often. */
const periodMs = 1000

/** A ledger without a commit for this long is closed, or its writer is dead. */
const atRestMs = 5000

interface Moment {
  readonly totals: LedgerTotals
  readonly atMs: number
}

/** Watts of one class between two commits. */
function watts(energyClass: 'measured' | 'modelled', now: Moment, before: Moment | undefined): number | undefined {
  const [after, earlier] = [now.totals.energy[energyClass], before?.totals.energy[energyClass]]
  if (after === undefined || earlier === undefined || before === undefined) return undefined
  const seconds = Number(now.totals.durationNanoseconds - before.totals.durationNanoseconds) / 1e9
  return seconds > 0 ? Number(after.nanojoules - earlier.nanojoules) / 1e9 / seconds : undefined
}

async function show(report: EnergyReport, now: Moment, before: Moment | undefined, live: boolean): Promise<number> {
  const { formatCarbonSplit, formatEnergySplit } = await import('@swift/energy')
  const power =
    (['measured', 'modelled'] as const)
      .flatMap((energyClass) => {
        const value = watts(energyClass, now, before)
        return value === undefined ? [] : [`${value.toFixed(1)} W ${energyClass}`]
      })
      .join(' + ') || '– W'
  const seconds = report.durationSeconds.toFixed(0).padStart(6)
  const machine = formatEnergySplit(report.machine.energy, { unit: 'J', interval: false })
  if (!live) {
    printLine(`${seconds} s  ${power}  ${machine}  ${formatCarbonSplit(report.machine.carbon, { interval: false })}`)
    return 0
  }
  const rows = [
    ...report.rows
      .slice(-12)
      .map(({ key, energy, carbon }) => [
        key,
        formatEnergySplit(energy, { unit: 'J' }),
        formatCarbonSplit(carbon, { interval: false }),
      ]),
    ['machine', formatEnergySplit(report.machine.energy, { unit: 'J' }), formatCarbonSplit(report.machine.carbon)],
    ...(report.factorNote === undefined ? [] : [['carbon note', report.factorNote]]),
  ]
  const text = `run ${report.runId}\n${seconds} s  ${power}\n${formatTable(rows)}\nCtrl-C ends the view; the run goes on`
  const columns = process.stdout.columns || 80
  const cut = text.split('\n').map((line) => line.slice(0, columns))
  process.stdout.write(`${cut.join('\n')}\n`)
  return cut.length
}

/** `swift energy watch DIR`: the ledger of a run as it grows. Ends when it has been at rest for five seconds. */
export async function watch({ values, positionals, output }: CommandCall): Promise<number> {
  const { Ledger } = await import('@swift/energy')
  const folder = await ledgerFolder(positionals[1], 'watch')
  const options = await reportOptions(values)
  using interrupted = interruption(() => undefined)
  let before: Moment | undefined
  let shown = 0
  let movedMs = performance.now()
  while (!interrupted.signal.aborted) {
    const totals = Ledger.read(folder)
    const now: Moment = { totals, atMs: performance.now() }
    const hasMoved = before === undefined || totals.chainHash !== before.totals.chainHash
    if (hasMoved) {
      // A provider that fails at the beginning is an error; one that fails later does not end the view.
      const report = await Ledger.report(folder, before === undefined ? options : { ...options, carbonFallback: true })
      if (output.json)
        printJson({
          type: 'energy-watch',
          measuredWatts: watts('measured', now, before),
          modelledWatts: watts('modelled', now, before),
          ...report,
        })
      else {
        if (output.live && shown > 0) process.stdout.write(`\u001b[${shown}A\u001b[J`)
        shown = await show(report, now, before, output.live)
      }
      before = now
      movedMs = now.atMs
    } else if (now.atMs - movedMs > atRestMs) {
      if (!output.json) printLine(`no commit for ${atRestMs / 1000} s: the ledger is closed, or its writer was killed`)
      return 0
    }
    await sleep(periodMs, undefined, { signal: interrupted.signal }).catch(() => undefined)
  }
  return 0
}
