import { scope, sample, type Device, type Tensor } from '@swift/tensor'
import type { CausalLM } from '../network/causal-lm.ts'
import { DecodeSteps } from './decode-steps.ts'
import { checkPrompts, type GenerationWork, type TokenGenerationOptions } from './generation-options.ts'

/** One generated token. */
export interface GeneratedToken {
  /** Index of its prompt. */
  readonly index: number
  readonly tokenId: number
  /** Log-probability under the processed distribution, in nats. */
  readonly logProb: number
}

interface Sequence {
  readonly index: number
  /** Ids of prompt and answer. */
  readonly ids: number[]
  /** Ids already in the cache. */
  cached: number
  produced: number
}

interface Sampled {
  readonly ids: Tensor
  readonly logProbs: Tensor
}

function int32(device: Device, values: readonly number[]): Tensor {
  return device.tensor(Int32Array.from(values))
}

/** Ops that are queued until the result is disposed compute in `dtype`, where it is given. */
function computingIn(device: Device, dtype: Device['computeDType'] | undefined): Disposable {
  const before = device.computeDType
  if (dtype !== undefined) device.computeDType = dtype
  return {
    [Symbol.dispose]: () => {
      device.computeDType = before
    },
  }
}

/** Earlier ids of each sequence, padded by −1, for the repetition penalty. */
function historyOf(device: Device, active: readonly Sequence[]): Tensor {
  const length = Math.max(...active.map(({ ids }) => ids.length))
  const values = new Int32Array(active.length * length).fill(-1)
  active.forEach(({ ids }, row) => values.set(ids, row * length))
  return device.tensor(values, [active.length, length])
}

/** What a sequence does in its next pass. */
function workOf({ index, ids, cached, produced }: Sequence): GenerationWork {
  const tokens = ids.length - cached
  const isPrompt = produced === 0
  return { index, promptTokens: isPrompt ? tokens : 0, newTokens: isPrompt ? 0 : tokens, contextTokens: cached }
}

/** Generates token ids after prompts: one packed prefill, then one token per sequence and pass. */
export class Generator {
  /**
   * Generates after every prompt at once; tokens come as they are drawn, in the order of the prompts within a pass.
   * Stop tokens end a sequence and are not given out.
   *
   * @param prompts - token ids, each at least one
   * @throws `ERR_PROMPT_EMPTY`, `ERR_PROMPT_TOO_LONG`
   */
  static async *generate(
    model: CausalLM,
    prompts: readonly ArrayLike<number>[],
    options: TokenGenerationOptions = {},
  ): AsyncGenerator<GeneratedToken, void> {
    if (prompts.length === 0) return
    const maxNewTokens = checkPrompts(model.config, prompts, options)
    const stops = new Set(options.stopTokenIds ?? [])
    const sequences = prompts.map((prompt, index): Sequence => ({
      index,
      ids: Array.from(prompt),
      cached: 0,
      produced: 0,
    }))
    const maxLength = Math.max(...sequences.map(({ ids }) => ids.length)) + maxNewTokens
    const dtype = options.computeDtype ?? 'float32'
    using cache = model.newCache({ sequences: sequences.length, maxLength, dtype })
    using steps = new DecodeSteps(model, cache)
    let active = sequences
    for (let step = 0; active.length > 0 && options.signal?.aborted !== true; step++) {
      const [drawn, scores] = await Generator.#draw(model, steps, active, options, step)
      const next: Sequence[] = []
      for (const [row, sequence] of active.entries()) {
        const tokenId = drawn[row] as number
        sequence.produced += 1
        if (stops.has(tokenId)) continue
        sequence.ids.push(tokenId)
        yield { index: sequence.index, tokenId, logProb: scores[row] as number }
        if (sequence.produced < maxNewTokens) next.push(sequence)
      }
      active = next
    }
  }

  /** Generates after every prompt and returns the new ids of each. */
  static async generateAll(
    model: CausalLM,
    prompts: readonly ArrayLike<number>[],
    options: TokenGenerationOptions = {},
  ): Promise<number[][]> {
    const answers = prompts.map((): number[] => [])
    for await (const { index, tokenId } of Generator.generate(model, prompts, options)) answers[index]?.push(tokenId)
    return answers
  }

  static async #draw(
    model: CausalLM,
    steps: DecodeSteps,
    active: readonly Sequence[],
    options: TokenGenerationOptions,
    step: number,
  ): Promise<readonly [ids: ArrayLike<number>, logProbs: ArrayLike<number>]> {
    using _pass = options.onPass?.(active.map(workOf))
    const { ids, logProbs } = Generator.#pass(model, steps, active, options, step)
    const drawn = await Promise.all([ids.toArray(), logProbs.toArray()])
    ids.release()
    logProbs.release()
    return drawn
  }

  static #pass(
    model: CausalLM,
    steps: DecodeSteps,
    active: readonly Sequence[],
    options: TokenGenerationOptions,
    step: number,
  ): Sampled {
    const { device } = model
    const ids: number[] = []
    const slots: number[] = []
    const positions: number[] = []
    const rows: number[] = []
    for (const sequence of active) {
      for (let position = sequence.cached; position < sequence.ids.length; position++) {
        ids.push(sequence.ids[position] as number)
        slots.push(sequence.index)
        positions.push(position)
      }
      sequence.cached = sequence.ids.length
      rows.push(ids.length - 1)
    }
    using _compute = computingIn(device, options.computeDtype)
    return scope(() => {
      const logits = steps.logits({
        inputIds: int32(device, ids),
        slots: int32(device, slots),
        positions: int32(device, positions),
        rows: int32(device, rows),
      })
      const { temperature = 0, topK, topP, minP, repetitionPenalty = 1, seed } = options
      const history = repetitionPenalty === 1 ? undefined : historyOf(device, active)
      return sample(logits, {
        temperature,
        repetitionPenalty,
        history,
        step,
        ...(topK === undefined ? {} : { topK }),
        ...(topP === undefined ? {} : { topP }),
        ...(minP === undefined ? {} : { minP }),
        ...(seed === undefined ? {} : { seed }),
      })
    })
  }
}
