import { SwiftError, type PackedBatch, type RecomputePolicy } from '@swift/spec'
import { formatBytes } from './format-units.ts'
import { forecastMemory, worstBatch, type MemoryForecast, type MetaRun } from './step-forecast.ts'

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
}

/** The chosen policy and its memory. */
export interface MemoryChoice {
  /** Policy the run uses. */
  readonly recompute: RecomputePolicy
  /** Its peak. */
  readonly memory: MemoryForecast
  /** Why this policy, for the plan. */
  readonly reason: string
}

const policies: readonly RecomputePolicy[] = ['none', 'selective', 'full']

/**
 * The least recomputation whose peak fits the limit.
 * @throws `ERR_PLAN_MEMORY` with the smallest change that would fit
 */
export function chooseRecompute(run: MetaRun, question: MemoryQuestion): MemoryChoice {
  const { longest, microBatches, limitBytes } = question
  const asked = question.recompute === 'auto' ? policies : [question.recompute]
  let last: MemoryForecast | undefined
  for (const recompute of asked) {
    const memory = forecastMemory(run, longest, recompute, microBatches)
    if (memory.peakBytes <= limitBytes) {
      const limit = formatBytes(limitBytes)
      const reason =
        question.recompute !== 'auto'
          ? 'as asked'
          : recompute === 'none'
            ? `fits ${limit}`
            : `the least that fits ${limit}`
      return { recompute, memory, reason }
    }
    last = memory
  }
  throw refusal(run, question, last as MemoryForecast)
}

function refusal(run: MetaRun, question: MemoryQuestion, memory: MemoryForecast): SwiftError {
  const { limitBytes, microBatches, fourBitSavingBytes } = question
  const longest = question.longest.inputIds.length
  const changes: string[] = []
  if (question.recompute !== 'auto' && question.recompute !== 'full') {
    const full = forecastMemory(run, question.longest, 'full', microBatches)
    if (full.peakBytes <= limitBytes) changes.push(`recompute: full (${formatBytes(full.peakBytes)})`)
  }
  const fitting = longestThatFits(run, limitBytes, longest, microBatches)
  if (fitting !== undefined) changes.push(`maxLength ≤ ${fitting} with recompute: full`)
  if (fourBitSavingBytes > 0 && memory.peakBytes - fourBitSavingBytes <= limitBytes) {
    changes.push(`loadIn4bit: true (about ${formatBytes(memory.peakBytes - fourBitSavingBytes)})`)
  }
  const smallest = forecastMemory(run, worstBatch(1), 'full', 1).peakBytes
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
function longestThatFits(run: MetaRun, limitBytes: number, longest: number, microBatches: number): number | undefined {
  const fits = (tokens: number): boolean =>
    forecastMemory(run, worstBatch(tokens), 'full', microBatches).peakBytes <= limitBytes
  let low = 0
  let high = longest
  while (high - low > Math.max(1, longest / 64)) {
    const middle = Math.floor((low + high) / 2)
    if (middle >= 1 && fits(middle)) low = middle
    else high = middle
  }
  return low > 0 ? low : undefined
}
