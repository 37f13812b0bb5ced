import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { writeSafetensors } from '@swift/models'
import { device, type Tensor } from '@swift/tensor'
import { readLlama2cModel, type Llama2cConfig } from './read-model.ts'
import { readLlama2cTokenizer, toTokenizerJson } from './read-tokenizer.ts'

function toModelConfig(config: Llama2cConfig): Readonly<Record<string, unknown>> {
  const { dim, hiddenDim, layers, heads, keyValueHeads, vocabularySize, sequenceLength, isHeadTied } = config
  return {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    vocab_size: vocabularySize,
    hidden_size: dim,
    intermediate_size: hiddenDim,
    num_hidden_layers: layers,
    num_attention_heads: heads,
    num_key_value_heads: keyValueHeads,
    head_dim: dim / heads,
    max_position_embeddings: sequenceLength,
    // llama2.c has both fixed in its code.
    rms_norm_eps: 1e-5,
    rope_theta: 10_000,
    hidden_act: 'silu',
    attention_bias: false,
    mlp_bias: false,
    tie_word_embeddings: isHeadTied,
    bos_token_id: 1,
    eos_token_id: 2,
    torch_dtype: 'float32',
  }
}

/** Files of a conversion. */
export interface ConversionPaths {
  /** Model of llama2.c, `.bin` version 0. */
  readonly model: string
  /** Its tokenizer, `.bin`. */
  readonly tokenizer: string
  /** Folder to write; made where it is missing. */
  readonly output: string
}

/**
 * Writes a model of llama2.c as a folder in Hugging Face's layout: config.json, model.safetensors, tokenizer.json.
 * @throws Error when a file is not what it should be; nothing is written then
 */
export async function convertLlama2c({ model, tokenizer, output }: ConversionPaths): Promise<Llama2cConfig> {
  const { config, tensors } = readLlama2cModel(await readFile(model), model)
  const pieces = readLlama2cTokenizer(await readFile(tokenizer), config.vocabularySize, tokenizer)
  await mkdir(output, { recursive: true })
  const cpu = device('cpu')
  const onDevice = new Map<string, Tensor>()
  try {
    for (const [name, { values, shape }] of tensors) onDevice.set(name, cpu.tensor(values, shape))
    await writeSafetensors(join(output, 'model.safetensors'), onDevice, { metadata: { format: 'pt' } })
  } finally {
    for (const tensor of onDevice.values()) tensor.release()
  }
  const write = (name: string, value: unknown): Promise<void> =>
    writeFile(join(output, name), `${JSON.stringify(value, null, 2)}\n`)
  await write('tokenizer.json', toTokenizerJson(pieces))
  await write('tokenizer_config.json', {
    bos_token: '<s>',
    eos_token: '</s>',
    unk_token: '<unk>',
    model_max_length: config.sequenceLength,
  })
  // These models end a story by beginning the next one.
  await write('generation_config.json', { bos_token_id: 1, eos_token_id: [1, 2] })
  await write('config.json', toModelConfig(config))
  return config
}
