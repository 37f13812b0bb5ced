import { Generator, type CausalLM } from '@swift/models'
import type { ChatMessage, ChatTemplate, Tokenizer } from '@swift/spec'
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
}

/** Options of one call. */
export interface GenerateOptions extends GenerationOptions {
  /** Seed of the draws. Default 42. */
  readonly seed?: number
  /** First message of the chat, when the prompt has none. */
  readonly system?: string
  /** Continue a string as it is, without the chat template. Default false. */
  readonly raw?: boolean
  /** Variables of the chat template, such as `enable_thinking`. */
  readonly chatTemplateKwargs?: Readonly<Record<string, unknown>>
  /** Ends the generation between tokens. */
  readonly signal?: AbortSignal
}
