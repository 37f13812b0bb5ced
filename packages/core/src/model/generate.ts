import type { RequestMeter } from '@swift/energy'
import { Generator, type CausalLM, type TokenGenerationOptions } from '@swift/models'
import type { ChatMessage, ChatTemplate, ComputeDType, Tokenizer } from '@swift/spec'
import type { GenerationOptions } from '../options/generation-options.ts'
import { generationOptions } from '../options/option-tables.ts'
import { parseOptions } from '../options/parse-options.ts'

/** What generating text needs of a model. */
export interface TextModel {
  /** The decoder. */
  readonly network: CausalLM
  /** Text to ids and back. */
  readonly tokenizer: Tokenizer
  /** Chats to text. */
  readonly chatTemplate: ChatTemplate
  /** What its `generation_config.json` says. */
  readonly generationDefaults: GenerationOptions
  /** What it was loaded to compute in, if that was said. */
  readonly options: { readonly computeDtype?: ComputeDType }
}

/** What is asked: one user's message, or a chat. */
export type Prompt = string | readonly ChatMessage[]

/** Options of one call. */
export interface GenerateOptions extends GenerationOptions {
  /** Seed of the draws. Default 42. */
  readonly seed?: number
  /** System message, when the chat has none. */
  readonly system?: string
  /** Continue a string as it is, without the chat template. Default false. */
  readonly raw?: boolean
  /** Variables of the chat template, such as `enable_thinking`. */
  readonly chatTemplateKwargs?: Readonly<Record<string, unknown>>
  /** Ends the generation between tokens; what was written so far is the answer. */
  readonly signal?: AbortSignal
  /** Divides the energy over the prompts; they are the requests `0`, `1`, … of its report. */
  readonly meter?: RequestMeter
}

function promptIds(model: TextModel, prompt: Prompt, options: GenerateOptions): Int32Array {
  const { tokenizer, chatTemplate } = model
  if (typeof prompt === 'string' && options.raw === true)
    return tokenizer.encode(prompt, { addSpecialTokens: true }).ids
  const given: readonly ChatMessage[] = typeof prompt === 'string' ? [{ role: 'user', content: prompt }] : prompt
  const needsSystem = options.system !== undefined && given[0]?.role !== 'system'
  const messages: readonly ChatMessage[] = needsSystem
    ? [{ role: 'system', content: options.system ?? '' }, ...given]
    : given
  const text = chatTemplate.render(messages, {
    addGenerationPrompt: true,
    ...(options.chatTemplateKwargs === undefined ? {} : { variables: options.chatTemplateKwargs }),
  })
  return tokenizer.encode(text).ids
}

/**
 * What text is generated in: what was asked for at loading, else bfloat16 for a model whose weights outside of any
 * quantization are bfloat16, as its makers run it, else whatever the device computes in.
 */
function generationDtype({ network, options }: TextModel): ComputeDType | undefined {
  const [embedding] = network.parameters()
  return options.computeDtype ?? (embedding?.value.dtype === 'bfloat16' ? 'bfloat16' : undefined)
}

function settingsOf(model: TextModel, options: GenerateOptions): TokenGenerationOptions {
  const { seed, system: _system, raw: _raw, chatTemplateKwargs: _variables, signal, meter, ...given } = options
  const values = parseOptions('generate', generationOptions, {
    ...model.generationDefaults,
    ...given,
  }) as GenerationOptions
  const computeDtype = generationDtype(model)
  return {
    ...values,
    seed: seed ?? 42,
    ...(computeDtype === undefined ? {} : { computeDtype }),
    stopTokenIds: model.tokenizer.stopTokenIds,
    ...(signal === undefined ? {} : { signal }),
    ...(meter === undefined
      ? {}
      : { onPass: (work) => meter.step(work.map(({ index, ...done }) => ({ id: String(index), ...done }))) }),
  }
}

/** Generates one answer, in pieces that never end inside a character. */
export async function* generatePieces(
  model: TextModel,
  prompt: Prompt,
  options: GenerateOptions,
): AsyncGenerator<string, void> {
  const settings = settingsOf(model, options)
  const decoder = model.tokenizer.createStreamDecoder({ skipSpecialTokens: true })
  for await (const { tokenId } of Generator.generate(model.network, [promptIds(model, prompt, options)], settings)) {
    const piece = decoder.push(tokenId)
    if (piece !== '') yield piece
  }
  const rest = decoder.finish()
  if (rest !== '') yield rest
}

/** Generates answers to several prompts at once. */
export async function generateAll(
  model: TextModel,
  prompts: readonly Prompt[],
  options: GenerateOptions,
): Promise<string[]> {
  const ids = prompts.map((prompt) => promptIds(model, prompt, options))
  const answers = await Generator.generateAll(model.network, ids, settingsOf(model, options))
  return answers.map((tokens) => model.tokenizer.decode(tokens, { skipSpecialTokens: true }))
}
