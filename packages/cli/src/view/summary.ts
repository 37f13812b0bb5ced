import {
  addSplits,
  formatBytes,
  formatCarbonSplit,
  formatDuration,
  formatEnergySplit,
  formatJoulesPerToken,
  formatNumber,
  toJoules,
  type EnergySplit,
  type TrainResult,
} from '@swift/core'
import { paint, printLine, type OutputMode } from '../output/output.ts'
import { formatTable } from '../output/table.ts'
import { formatEnergy, formatPath } from './format-values.ts'

/** What the summary tells besides the result. */
export interface SummaryContext {
  /** Command that was run. */
  readonly command: 'sft' | 'pt'
  /** Its options. */
  readonly values: Readonly<Record<string, unknown>>
  /** How to print. */
  readonly output: OutputMode
}

/** Kilowatt-hours with their interval, and the same in joules, which small runs are easier to read in. */
function energyText(split: EnergySplit): string {
  const joules = [split.measured, split.modelled].map((amount) => amount && formatEnergy(toJoules(amount.nanojoules)))
  const present = joules.filter((text) => text !== undefined)
  return `${formatEnergySplit(split)}${present.length === 0 ? '' : ` · ${present.join(' + ')}`}`
}

function energyRows(result: TrainResult): string[][] {
  const { energy } = result
  if (energy === undefined) return [['energy', `unavailable: ${result.energyUnavailable ?? 'no source'}`]]
  const rows = energy.rows.filter(({ key }) => key.startsWith('epoch:') || key === 'pause')
  // Waiting for a cleaner grid is no part of what a token costs.
  const work = rows.some(({ key }) => key === 'pause')
    ? energy.rows.filter(({ key }) => key !== 'pause').map((row) => row.energy)
    : [energy.phases.energy]
  const perToken = work.length === 0 ? energy.phases.energy : work.reduce(addSplits)
  return [
    ...rows.map(({ key, energy: split }) => [`energy ${key.replace(':', ' ')}`, energyText(split)]),
    ['energy in all', energyText(energy.phases.energy)],
    ...(result.tokens > 0 ? [['per token', formatJoulesPerToken(perToken, result.tokens)]] : []),
    [
      'carbon',
      `${formatCarbonSplit(energy.phases.carbon)} · ${energy.factor.zone} ${formatNumber(energy.factor.gramsPerKilowattHour)} g/kWh ${energy.factor.kind}, ${energy.factor.validFor}`,
    ],
    ...(energy.factorNote === undefined ? [] : [['carbon note', energy.factorNote]]),
  ]
}

function planRows({ planComparison: compared }: TrainResult): string[][] {
  if (compared === undefined) return []
  const { forecastBytes, actualBytes, bytesError, forecastSeconds, actualSeconds, secondsError } = compared
  const error = (value: number): string => `${value >= 0 ? '+' : ''}${(100 * value).toFixed(1)} %`
  return [
    ['plan, memory', `${formatBytes(forecastBytes)} forecast, ${formatBytes(actualBytes)} used (${error(bytesError)})`],
    [
      'plan, time',
      `${formatDuration(forecastSeconds)} forecast, ${formatDuration(actualSeconds)} used (${error(secondsError)})`,
    ],
  ]
}

/** The end of a run as a table: losses, energy, plan against run, where things are and what to do next. */
export function printSummary(result: TrainResult, { command, values, output }: SummaryContext): void {
  const { reason, step, totalSteps, loss, bestEvaluationLoss, durationMs, tokens } = result
  const rows = [
    [
      'steps',
      `${step} of ${totalSteps} in ${(durationMs / 1000).toFixed(1)} s · ${Math.round(tokens / Math.max(1e-3, durationMs / 1000))} tokens/s`,
    ],
    ...(result.pausedMs === 0 ? [] : [['paused', formatDuration(result.pausedMs / 1000)]]),
    ...(loss === undefined ? [] : [['last loss', loss.toFixed(4)]]),
    ...(bestEvaluationLoss === undefined ? [] : [['best evaluation', bestEvaluationLoss.toFixed(4)]]),
    ...(result.skippedSteps === 0 ? [] : [['skipped updates', String(result.skippedSteps)]]),
    ...energyRows(result),
    ...planRows(result),
    ...(result.lastCheckpoint === undefined ? [] : [['checkpoint', formatPath(result.lastCheckpoint)]]),
    ...(result.bestCheckpoint === undefined ? [] : [['best', formatPath(result.bestCheckpoint)]]),
  ]
  printLine()
  printLine(paint(output, 'bold', reason === 'finished' ? 'done' : reason))
  printLine(formatTable(rows))
  if (result.resumeHint !== undefined) {
    const folder = formatPath(result.runFolder)
    printLine(`\nStep ${step} is saved. Go on with the same command and`)
    printLine(`  --output-dir ${folder} --resume-from-checkpoint auto`)
  } else if (result.lastCheckpoint !== undefined && values['tunerType'] !== 'full' && command === 'sft') {
    printLine(
      `\ntry it: swift infer --model ${String(values['model'])} --adapter ${formatPath(result.bestCheckpoint ?? result.lastCheckpoint)}`,
    )
  }
}
