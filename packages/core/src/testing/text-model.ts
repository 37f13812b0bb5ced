import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { randomCausalLM, saveCausalLM, trainByteLevelTokenizer } from '@swift/models'
import { device } from '@swift/tensor'

/** Questions of a made-up world, each with its only answer. */
export const capitals: readonly (readonly [question: string, answer: string])[] = [
  ['capital of Aru?', 'Belo'],
  ['capital of Bena?', 'Tika'],
  ['capital of Cosa?', 'Mura'],
  ['capital of Dilo?', 'Sena'],
  ['capital of Emu?', 'Rado'],
  ['capital of Fani?', 'Luma'],
]

/** Writes the questions as chat rows, each `repeats` times. */
export async function writeCapitals(path: string, repeats: number): Promise<void> {
  const rows = Array.from({ length: repeats }, () => capitals)
    .flat()
    .map(([query, response]) => JSON.stringify({ query, response }))
  await writeFile(path, `${rows.join('\n')}\n`)
}

/** A small random Qwen3 with a tokenizer of its own, in a folder of its own. */
export async function writeTextModel(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true })
  const specialTokens = ['<|endoftext|>', '<|im_start|>', '<|im_end|>']
  const texts = capitals.flatMap(([question, answer]) => [question, answer, 'user assistant system'])
  const vocabularySize = 256 + 40 + specialTokens.length
  const tokenizer = trainByteLevelTokenizer(texts, { vocabularySize, specialTokens, minFrequency: 1 })
  const config = {
    architectures: ['Qwen3ForCausalLM'],
    model_type: 'qwen3',
    vocab_size: vocabularySize,
    hidden_size: 64,
    intermediate_size: 128,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    head_dim: 16,
    max_position_embeddings: 128,
    rms_norm_eps: 1e-6,
    rope_theta: 10_000,
    tie_word_embeddings: true,
    hidden_act: 'silu',
    initializer_range: 0.15,
    torch_dtype: 'float32',
  }
  using model = randomCausalLM(config, { device: device('cpu'), seed: 3 })
  await saveCausalLM(model, folder)
  await writeFile(join(folder, 'tokenizer.json'), tokenizer)
  await writeFile(
    join(folder, 'tokenizer_config.json'),
    JSON.stringify({ eos_token: '<|im_end|>', model_max_length: 128 }),
  )
  await writeFile(join(folder, 'generation_config.json'), JSON.stringify({ eos_token_id: 258 }))
}
