import { createCounterRandom } from './counter-random.ts'
import type { ModelShape } from './recipe.ts'

type Kind = 'normal' | 'small' | 'one'

/** Names, shapes `[out, in]` and kinds of a Qwen3 model with a tied head, as in its checkpoints. */
function weightTable(
  shape: ModelShape,
  vocabularySize: number,
): readonly (readonly [string, readonly number[], Kind])[] {
  const { hiddenSize: hidden, intermediateSize: inner, headDimension: head } = shape
  const queries = shape.heads * head
  const keys = shape.keyValueHeads * head
  const layer = (index: number): (readonly [string, readonly number[], Kind])[] =>
    [
      ['input_layernorm', [hidden], 'one'],
      ['self_attn.q_proj', [queries, hidden], 'normal'],
      ['self_attn.k_proj', [keys, hidden], 'normal'],
      ['self_attn.v_proj', [keys, hidden], 'normal'],
      ['self_attn.o_proj', [hidden, queries], 'small'],
      ['self_attn.q_norm', [head], 'one'],
      ['self_attn.k_norm', [head], 'one'],
      ['post_attention_layernorm', [hidden], 'one'],
      ['mlp.gate_proj', [inner, hidden], 'normal'],
      ['mlp.up_proj', [inner, hidden], 'normal'],
      ['mlp.down_proj', [hidden, inner], 'small'],
    ].map(
      ([name, sides, kind]) =>
        [`model.layers.${index}.${name as string}.weight`, sides as number[], kind as Kind] as const,
    )
  return [
    ['model.embed_tokens.weight', [vocabularySize, hidden], 'normal'],
    ...Array.from({ length: shape.layers }, (_, index) => layer(index)).flat(),
    ['model.norm.weight', [hidden], 'one'],
  ]
}

/**
 * The untrained model as a float32 safetensors file. Matrices are normal with the shape's standard deviation, those that
 * write into the residual stream scaled by 1/√(2·layers) (GPT-2); norms are 1. A normal draw is the sum of twelve
 * uniform ones less six: exact arithmetic, so the bits are the same on every machine.
 */
export function initialWeights(seed: number, shape: ModelShape, vocabularySize: number): Uint8Array {
  const table = weightTable(shape, vocabularySize)
  const header: Record<string, unknown> = { __metadata__: { format: 'pt' } }
  let offset = 0
  for (const [name, sides] of table) {
    const bytes = 4 * sides.reduce((product, side) => product * side, 1)
    header[name] = { dtype: 'F32', shape: sides, data_offsets: [offset, offset + bytes] }
    offset += bytes
  }
  const text = JSON.stringify(header)
  const encoded = new TextEncoder().encode(text.padEnd(Math.ceil(text.length / 8) * 8))
  const file = new Uint8Array(8 + encoded.length + offset)
  const view = new DataView(file.buffer)
  view.setBigUint64(0, BigInt(encoded.length), true)
  file.set(encoded, 8)
  let at = 8 + encoded.length
  for (const [name, sides, kind] of table) {
    const random = createCounterRandom(seed, `initial/${name}`)
    const deviation = shape.initialStandardDeviation * (kind === 'small' ? 1 / Math.sqrt(2 * shape.layers) : 1)
    const count = sides.reduce((product, side) => product * side, 1)
    for (let index = 0; index < count; index += 1, at += 4) {
      let sum = -6
      if (kind !== 'one') for (let draw = 0; draw < 12; draw += 1) sum += random.next() / 0x1_0000_0000
      view.setFloat32(at, kind === 'one' ? 1 : sum * deviation, true)
    }
  }
  return file
}
