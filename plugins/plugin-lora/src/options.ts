import { SwiftError, type OptionTable } from '@swift/spec'

/** Options of LoRA, named as in PEFT's `LoraConfig`, in camelCase. */
export interface LoraOptions {
  /** Rank of the update. */
  readonly r: number
  /** α: the update is scaled by α/r (α/√r with `useRslora`). */
  readonly loraAlpha: number
  /** Dropout probability of the branch's input while training. */
  readonly loraDropout: number
  /** Layers by exact path or last parts of it; a string is a regular expression over whole paths; `all-linear` is every linear layer but the head. */
  readonly targetModules: readonly string[] | string
  /** Layers left out, by the same rule as `targetModules`. */
  readonly excludeModules?: readonly string[] | string
  /** Rank-stabilised scaling α/√r (Kalajdzievski 2023, arXiv 2312.03732). */
  readonly useRslora: boolean
  /** Learning rate of B relative to A (LoRA+, Hayou et al. 2024, arXiv 2402.12354); 1 is plain LoRA. */
  readonly loraPlusRatio: number
  /** Rank by path suffix or regular expression. */
  readonly rankPattern: Readonly<Record<string, number>>
  /** α by path suffix or regular expression. */
  readonly alphaPattern: Readonly<Record<string, number>>
}

/** The option table of LoRA. */
export const loraOptionTable: OptionTable = {
  r: { type: 'integer', description: 'Rank of the update.', default: 8, minimum: 1 },
  loraAlpha: {
    type: 'number',
    description: 'α: the update is scaled by α/r.',
    default: 32,
    minimum: 0,
  },
  loraDropout: {
    type: 'number',
    description: 'Dropout probability of the branch’s input while training.',
    default: 0,
    minimum: 0,
    maximum: 0.99,
  },
  targetModules: {
    type: 'string[]',
    description: 'Layers by last parts of their path; `all-linear` is every linear layer but the head.',
    default: 'all-linear',
  },
  excludeModules: { type: 'string[]', description: 'Layers left out, by last parts of their path.' },
  useRslora: { type: 'boolean', description: 'Scale by α/√r instead of α/r (arXiv 2312.03732).', default: false },
  loraPlusRatio: {
    type: 'number',
    description: 'Learning rate of B relative to A (LoRA+, arXiv 2402.12354).',
    default: 1,
    minimum: 0,
  },
  rankPattern: { type: 'object', description: 'Rank by path suffix or regular expression.', default: {} },
  alphaPattern: { type: 'object', description: 'α by path suffix or regular expression.', default: {} },
}

/** Rank and scale of one layer, patterns applied. */
export interface LayerRank {
  readonly rank: number
  readonly scale: number
}

function patternValue(patterns: Readonly<Record<string, number>>, path: string): number | undefined {
  // PEFT's rule: the first key that matches the end of the path as a regular expression.
  for (const [pattern, value] of Object.entries(patterns)) {
    if (new RegExp(`(^|.*\\.)(${pattern})$`).test(path)) return value
  }
  return undefined
}

/**
 * Rank and scale of the layer at `path`.
 * @throws `ERR_LORA_RANK` when the rank is not a positive integer
 */
export function layerRank(options: LoraOptions, path: string): LayerRank {
  const rank = patternValue(options.rankPattern, path) ?? options.r
  const alpha = patternValue(options.alphaPattern, path) ?? options.loraAlpha
  if (!Number.isInteger(rank) || rank < 1) {
    throw new SwiftError({
      code: 'ERR_LORA_RANK',
      asked: `LoRA of rank ${rank} on ${path}`,
      found: 'a rank that is not a positive integer',
      remedy: 'Set r (or the entry of rankPattern) to 1 or more',
    })
  }
  return { rank, scale: alpha / (options.useRslora ? Math.sqrt(rank) : rank) }
}
