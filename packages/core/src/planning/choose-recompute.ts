import { SwiftError, type PackedBatch, type RecomputePolicy } from '@swift/spec'
import { formatBytes } from './format-units.ts'
import type { OpWork } from './op-times.ts'
import { forecastStep, worstBatch, type MemoryForecast, type MetaRun, type StepForecast } from './step-forecast.ts'

/** What the choice rests on. */
export interface MemoryQuestion {
  /** The longest batch of the run. */
  readonly longest: PackedBatch
  /** Micro-batches per step. */
  readonly microBatches: number
  /** Policy asked for, or `auto`. */
  readonly recompute: RecomputePolicy | 'auto'
  /** Bytes the run may use. */
  readonly limitBytes: number
  /** Bytes that 4-bit weights would save; 0 when they are 4-bit already or trained. */
  readonly fourBitSavingBytes: number
  /** Forecast time of the ops of the longest batch. */
  secondsOf(ops: readonly OpWork[]): number
}

/** The chosen policy and a step under it. */
export interface MemoryChoice {
  /** Policy the run uses. */
  readonly recompute: RecomputePolicy
  /** The step over the longest batch. */
  readonly step: StepForecast
  /** Why this policy, for the plan. */
  readonly reason: string
}

const policies: readonly RecomputePolicy[] = ['none', 'selective', 'full']

/** Cheap recomputation is worth its memory up to this part of a step's time … */
const worthwhileTime = 0.08
/** … and while a share of the memory costs at most this much of the same share of the time … */
const timePerMemory = 0.5
/** … when it saves this much at least. */
const worthwhileBytes = 64 * 2 ** 20

/**
 * The policy asked for; by itself the least recomputation whose peak fits the limit, and `selective` also where nothing
 * forces it, when it saves 64 MiB or more for at most 8 % of the time and twice that share of the memory.
 * @throws `ERR_PLAN_MEMORY` with the smallest change that would fit
 */
export async function chooseRecompute(run: MetaRun, question: MemoryQuestion): Promise<MemoryChoice> {
  const { longest, microBatches, limitBytes } = question
  const asked = question.recompute === 'auto' ? policies : [question.recompute]
  const limit = formatBytes(limitBytes)
  let last: MemoryForecast | undefined
  for (const recompute of asked) {
    const step = await forecastStep(run, longest, recompute, microBatches)
    if (step.memory.peakBytes <= limitBytes) {
      if (question.recompute !== 'auto') return { recompute, step, reason: 'as asked' }
      if (recompute !== 'none') return { recompute, step, reason: `the least that fits ${limit}` }
      return (await worthwhile(run, question, step)) ?? { recompute, step, reason: `fits ${limit}` }
    }
    last = step.memory
  }
  throw await refusal(run, question, last as MemoryForecast)
}

/** `selective`, where it saves much and costs little. */
async function worthwhile(
  run: MetaRun,
  { longest, microBatches, secondsOf }: MemoryQuestion,
  none: StepForecast,
): Promise<MemoryChoice | undefined> {
  // It cannot save more than is kept: small models are not asked twice.
  if (none.memory.byCategory.activations < worthwhileBytes) return undefined
  const step = await forecastStep(run, longest, 'selective', microBatches)
  const saved = none.memory.peakBytes - step.memory.peakBytes
  if (saved < worthwhileBytes) return undefined
  const [before, after] = [secondsOf(none.batchOps), secondsOf(step.batchOps)]
  const cost = Math.max(0, after / Math.max(before, 1e-9) - 1)
  if (cost > Math.min(worthwhileTime, (timePerMemory * saved) / none.memory.peakBytes)) return undefined
  const reason = `saves ${formatBytes(saved)} for ${(100 * cost).toFixed(1)} % of the time`
  return { recompute: 'selective', step, reason }
}

async function refusal(run: MetaRun, question: MemoryQuestion, memory: MemoryForecast): Promise<SwiftError> {
  const { limitBytes, microBatches, fourBitSavingBytes } = question
  const longest = question.longest.inputIds.length
  const changes: string[] = []
  if (question.recompute !== 'auto' && question.recompute !== 'full') {
    const { memory: full } = await forecastStep(run, question.longest, 'full', microBatches)
    if (full.peakBytes <= limitBytes) changes.push(`recompute: full (${formatBytes(full.peakBytes)})`)
  }
  const fitting = await longestThatFits(run, limitBytes, longest, microBatches)
  if (fitting !== undefined) changes.push(`maxLength ≤ ${fitting} with recompute: full`)
  if (fourBitSavingBytes > 0 && memory.peakBytes - fourBitSavingBytes <= limitBytes) {
    changes.push(`loadIn4bit: true (about ${formatBytes(memory.peakBytes - fourBitSavingBytes)})`)
  }
  const smallest = (await forecastStep(run, worstBatch(1), 'full', 1)).memory.peakBytes
  return new SwiftError({
    code: 'ERR_PLAN_MEMORY',
    asked: `Training with batches of ${longest} tokens`,
    found: `the plan needs ${formatBytes(memory.peakBytes)} and ${formatBytes(limitBytes)} may be used`,
    remedy:
      changes.length > 0
        ? `The smallest change that fits: ${changes.join(', or ')}`
        : `Even one token needs ${formatBytes(smallest)}: use a smaller model, a smaller adapter or more memory`,
    details: { peakBytes: memory.peakBytes, limitBytes, ...(fitting === undefined ? {} : { maxLength: fitting }) },
  })
}

/** The largest number of tokens below `longest` whose step fits under full recompute. */
async function longestThatFits(
  run: MetaRun,
  limitBytes: number,
  longest: number,
  microBatches: number,
): Promise<number | undefined> {
  const fits = async (tokens: number): Promise<boolean> =>
    (await forecastStep(run, worstBatch(tokens), 'full', microBatches)).memory.peakBytes <= limitBytes
  let low = 0
  let high = longest
  while (high - low > Math.max(1, longest / 64)) {
    const middle = Math.floor((low + high) / 2)
    if (middle >= 1 && (await fits(middle))) low = middle
    else high = middle
  }
  return low > 0 ? low : undefined
}
