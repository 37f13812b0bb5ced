import type { ModelShape } from './recipe.ts'
import { special } from './special-tokens.ts'

/** ChatML without tools: each turn between its marks. */
export const chatTemplate: string = [
  '{%- for message in messages -%}',
  `{{- '${special.turnStart}' + message.role + '\\n' + message.content + '${special.turnEnd}\\n' -}}`,
  '{%- endfor -%}',
  `{%- if add_generation_prompt -%}{{- '${special.turnStart}assistant\\n' -}}{%- endif -%}`,
].join('\n')

export interface ModelFilesInput {
  readonly shape: ModelShape
  readonly vocabularySize: number
  /** Id of a special token by its text. */
  readonly tokenId: (text: string) => number
}

const json = (value: unknown): string => `${JSON.stringify(value, undefined, 2)}\n`

/** The JSON files beside the weights and `tokenizer.json`, by name, in the form Hugging Face transformers reads. */
export function makeModelFiles({ shape, vocabularySize, tokenId }: ModelFilesInput): Readonly<Record<string, string>> {
  const documentEnd = tokenId(special.documentEnd)
  const turnEnd = tokenId(special.turnEnd)
  const addedToken = (content: string): readonly [string, object] => [
    String(tokenId(content)),
    { content, lstrip: false, normalized: false, rstrip: false, single_word: false, special: true },
  ]
  return {
    'config.json': json({
      architectures: ['Qwen3ForCausalLM'],
      model_type: 'qwen3',
      vocab_size: vocabularySize,
      hidden_size: shape.hiddenSize,
      intermediate_size: shape.intermediateSize,
      num_hidden_layers: shape.layers,
      num_attention_heads: shape.heads,
      num_key_value_heads: shape.keyValueHeads,
      head_dim: shape.headDimension,
      hidden_act: 'silu',
      attention_bias: false,
      attention_dropout: 0,
      rms_norm_eps: 1e-6,
      rope_theta: 10_000,
      rope_scaling: null,
      max_position_embeddings: shape.maxPositions,
      use_sliding_window: false,
      sliding_window: null,
      tie_word_embeddings: true,
      initializer_range: shape.initialStandardDeviation,
      bos_token_id: documentEnd,
      eos_token_id: documentEnd,
      dtype: 'bfloat16',
      torch_dtype: 'bfloat16',
    }),
    'generation_config.json': json({
      bos_token_id: documentEnd,
      pad_token_id: documentEnd,
      eos_token_id: [turnEnd, documentEnd],
      do_sample: false,
      max_new_tokens: 32,
    }),
    'tokenizer_config.json': json({
      tokenizer_class: 'Qwen2Tokenizer',
      add_bos_token: false,
      add_prefix_space: false,
      bos_token: null,
      eos_token: special.documentEnd,
      pad_token: special.documentEnd,
      unk_token: null,
      clean_up_tokenization_spaces: false,
      model_max_length: shape.maxPositions,
      added_tokens_decoder: Object.fromEntries(
        [special.documentEnd, special.turnStart, special.turnEnd].map(addedToken),
      ),
      chat_template: chatTemplate,
    }),
  }
}
