import type { TrainingPlan } from './training-plan.ts'
import { formatBytes, formatCount, formatDuration, formatFlops } from './format-units.ts'

type Row = readonly [name: string, value: string]

/** `0.0123 kWh measured + 0.0042 kWh modelled`; never one sum. */
function byClass(
  split: { readonly measured: number | undefined; readonly modelled: number | undefined },
  format: (value: number) => string,
): string {
  const parts = [
    ...(split.measured === undefined ? [] : [`${format(split.measured)} measured`]),
    ...(split.modelled === undefined ? [] : [`${format(split.modelled)} modelled`]),
  ]
  return parts.length === 0 ? 'unavailable' : parts.join(' + ')
}

function significant(value: number): string {
  return new Intl.NumberFormat('en', { maximumSignificantDigits: 3, useGrouping: false }).format(value)
}

function machineRows({ fields }: TrainingPlan): Row[] {
  const { device, instructionSet, threads, computeDtype, probe } = fields
  const cpu = instructionSet === undefined ? '' : ` · ${instructionSet} · ${threads ?? 0} threads`
  return [
    ['machine', `${device}${cpu} · compute ${computeDtype}`],
    [
      'probed',
      `${formatFlops(probe.flopsPerSecond)}/s product, ${formatBytes(probe.bytesPerSecond)}/s stream, ` +
        `a layer over ${probe.layerTokens.join(' and ')} tokens, ${significant(probe.secondsPerOp * 1e6)} µs between ops ` +
        `in ${formatDuration(probe.durationSeconds)}`,
    ],
  ]
}

function runRows({ fields }: TrainingPlan): Row[] {
  const { length, learningRate, lrSchedulerType, optimizer } = fields
  const share = (100 * fields.trainedParameters) / Math.max(1, fields.parameters)
  const warmup = length.warmupSteps > 0 ? `, ${length.warmupSteps} warmup steps` : ''
  return [
    ['model', `${fields.model} · ${formatCount(fields.parameters)} parameters · ${fields.weightFormat}`],
    ['trained', `${fields.tuner} · ${formatCount(fields.trainedParameters)} parameters (${significant(share)} %)`],
    [
      'data',
      `${fields.sequencesPerEpoch} sequences, ${formatCount(fields.tokensPerEpoch)} tokens, ` +
        `${fields.batchesPerEpoch} batches per epoch, longest ${fields.longestBatchTokens}`,
    ],
    [
      'steps',
      `${length.totalSteps} (${length.stepsPerEpoch} per epoch, ${length.gradientAccumulationSteps} micro-batches each)`,
    ],
    ['optimizer', `${optimizer} · learning rate ${learningRate.toExponential(1)} ${lrSchedulerType}${warmup}`],
  ]
}

function costRows(plan: TrainingPlan): Row[] {
  const { memory, limitBytes, recompute, recomputeReason, workPerStep, carbonFactor, carbonNote } = plan.fields
  const items = Object.entries(memory.byCategory).filter(([, bytes]) => bytes > 0)
  const rows: Row[] = [['memory', `${formatBytes(memory.peakBytes)} peak of ${formatBytes(limitBytes)}`]]
  for (const [category, bytes] of items.toSorted(([, a], [, b]) => b - a))
    rows.push([`  ${category}`, formatBytes(bytes)])
  if (memory.workspaceBytes > 0) rows.push(['  scratch', formatBytes(memory.workspaceBytes)])
  rows.push(['recompute', `${recompute} (${recomputeReason})`])
  rows.push([
    'time',
    `${formatDuration(plan.seconds)} (${formatDuration(plan.secondsPerStep)} and ${formatFlops(workPerStep.flops)} per step)`,
  ])
  rows.push(['energy', byClass(plan.joules, (joules) => `${significant(joules / 3.6e6)} kWh`)])
  rows.push([
    'carbon',
    `${byClass(plan.carbonGrams, (grams) => `${significant(grams)} gCO2e`)} · zone ${carbonFactor.zone}, ${significant(carbonFactor.gramsPerKilowattHour)} g/kWh ${carbonFactor.kind}, ${carbonFactor.validFor}`,
  ])
  if (carbonNote !== undefined) rows.push(['carbon note', carbonNote])
  return rows
}

/** A plan as aligned lines, for a terminal of any width. */
export function printPlan(plan: TrainingPlan): string {
  const rows = [...runRows(plan), ...machineRows(plan), ...costRows(plan)]
  const width = Math.max(...rows.map(([name]) => name.length))
  return rows.map(([name, value]) => `${name.padEnd(width)}  ${value}`).join('\n')
}
