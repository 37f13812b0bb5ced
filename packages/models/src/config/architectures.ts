/** What tells one family of decoders from another. */
export interface DecoderArchitecture {
  /** Name of this entry. */
  readonly id: string
  /** `architectures` of config.json that it covers. */
  readonly matches: readonly string[]
  /** Query, key and value biases: always, never, or as `attention_bias` says. */
  readonly queryKeyValueBias: boolean | 'attention_bias'
  /** Bias of the output projection. */
  readonly outputBias: boolean | 'attention_bias'
  /** Biases of the MLP. */
  readonly mlpBias: boolean | 'mlp_bias'
  /** Whether queries and keys are normalised per head. */
  readonly queryKeyNorm: boolean
  /** Whether `sliding_window` holds without `use_sliding_window`. */
  readonly windowByDefault: boolean
}

/** The decoders that are known; a new one of the Llama family is a line here. */
export const decoderArchitectures: readonly DecoderArchitecture[] = [
  {
    id: 'llama',
    matches: ['LlamaForCausalLM'],
    queryKeyValueBias: 'attention_bias',
    outputBias: 'attention_bias',
    mlpBias: 'mlp_bias',
    queryKeyNorm: false,
    windowByDefault: false,
  },
  {
    id: 'mistral',
    matches: ['MistralForCausalLM'],
    queryKeyValueBias: false,
    outputBias: false,
    mlpBias: false,
    queryKeyNorm: false,
    windowByDefault: true,
  },
  {
    id: 'qwen2',
    matches: ['Qwen2ForCausalLM'],
    queryKeyValueBias: true,
    outputBias: false,
    mlpBias: false,
    queryKeyNorm: false,
    windowByDefault: false,
  },
  {
    id: 'qwen3',
    matches: ['Qwen3ForCausalLM'],
    queryKeyValueBias: 'attention_bias',
    outputBias: 'attention_bias',
    mlpBias: false,
    queryKeyNorm: true,
    windowByDefault: false,
  },
]
