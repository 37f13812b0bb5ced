/** Extents of a llama2.c model, as its file begins. */
export interface Llama2cConfig {
  /** Width of the stream, D. */
  readonly dim: number
  /** Width inside the MLP, I. */
  readonly hiddenDim: number
  readonly layers: number
  readonly heads: number
  readonly keyValueHeads: number
  readonly vocabularySize: number
  /** Longest sequence. */
  readonly sequenceLength: number
  /** Whether the embedding is the head too. */
  readonly isHeadTied: boolean
}

/** A matrix or vector of the file. */
export interface Llama2cTensor {
  readonly shape: readonly number[]
  readonly values: Float32Array
}

/** A llama2.c model under Hugging Face's names, in Hugging Face's order of rotary pairs. */
export interface Llama2cModel {
  readonly config: Llama2cConfig
  readonly tensors: ReadonlyMap<string, Llama2cTensor>
}

const headerBytes = 28

function readConfig(view: DataView, path: string): Llama2cConfig {
  const at = (index: number): number => view.getInt32(4 * index, true)
  const config: Llama2cConfig = {
    dim: at(0),
    hiddenDim: at(1),
    layers: at(2),
    heads: at(3),
    keyValueHeads: at(4),
    // A negative count says that the head has weights of its own.
    vocabularySize: Math.abs(at(5)),
    sequenceLength: at(6),
    isHeadTied: at(5) > 0,
  }
  const { dim, heads, keyValueHeads } = config
  const positive = Object.values(config).every((value) => typeof value === 'boolean' || (value > 0 && value < 1 << 24))
  if (!positive || dim % heads !== 0 || heads % keyValueHeads !== 0 || (dim / heads) % 2 !== 0) {
    throw new Error(`${path} is no llama2.c model (version 0): its header says ${JSON.stringify(config)}`)
  }
  return config
}

/**
 * Rows of a query or key projection from pairs (2i, 2i+1) to pairs (i, i + h/2), h the extent of a head: llama2.c
 * rotates neighbours, Hugging Face the two halves of a head.
 */
export function halfSplitRows(weight: Llama2cTensor, heads: number): Llama2cTensor {
  const [rows = 0, columns = 0] = weight.shape
  const extent = rows / heads
  const values = new Float32Array(weight.values.length)
  for (let row = 0; row < rows; row++) {
    const head = Math.floor(row / extent)
    const within = row % extent
    const target = head * extent + (within % 2) * (extent / 2) + Math.floor(within / 2)
    values.set(weight.values.subarray(row * columns, (row + 1) * columns), target * columns)
  }
  return { shape: weight.shape, values }
}

/**
 * Reads a `.bin` of llama2.c, version 0: seven int32, then float32 weights, all layers of one kind together.
 * @throws Error when the header or the length of the file cannot be right
 */
export function readLlama2cModel(bytes: Uint8Array, path: string): Llama2cModel {
  if (bytes.byteLength < headerBytes) throw new Error(`${path} has ${bytes.byteLength} bytes, less than its header`)
  const config = readConfig(new DataView(bytes.buffer, bytes.byteOffset, headerBytes), path)
  const { dim: D, hiddenDim: I, layers, heads, keyValueHeads, vocabularySize: V, sequenceLength } = config
  const headExtent = D / heads
  const keyValueDim = keyValueHeads * headExtent
  const rotaryValues = sequenceLength * headExtent
  const perLayer = 2 * D + 2 * D * D + 2 * keyValueDim * D + 3 * I * D
  const count = V * D + layers * perLayer + D + rotaryValues + (config.isHeadTied ? 0 : V * D)
  if (bytes.byteLength !== headerBytes + 4 * count) {
    throw new Error(`${path} has ${bytes.byteLength} bytes; a model of its header has ${headerBytes + 4 * count}`)
  }
  // A copy begins at a multiple of four, which the bytes of a file need not.
  const all = new Float32Array(new Uint8Array(bytes.subarray(headerBytes)).buffer)
  let offset = 0
  const take = (...shape: number[]): Llama2cTensor => {
    const length = shape.reduce((product, extent) => product * extent, 1)
    offset += length
    return { shape, values: all.subarray(offset - length, offset) }
  }
  const tensors = new Map<string, Llama2cTensor>()
  const perLayerTensors = (name: string, shape: readonly number[], rotaryHeads?: number): void => {
    for (let layer = 0; layer < layers; layer++) {
      const tensor = take(...shape)
      const stored = rotaryHeads === undefined ? tensor : halfSplitRows(tensor, rotaryHeads)
      tensors.set(`model.layers.${layer}.${name}.weight`, stored)
    }
  }
  tensors.set('model.embed_tokens.weight', take(V, D))
  perLayerTensors('input_layernorm', [D])
  perLayerTensors('self_attn.q_proj', [D, D], heads)
  perLayerTensors('self_attn.k_proj', [keyValueDim, D], keyValueHeads)
  perLayerTensors('self_attn.v_proj', [keyValueDim, D])
  perLayerTensors('self_attn.o_proj', [D, D])
  perLayerTensors('post_attention_layernorm', [D])
  perLayerTensors('mlp.gate_proj', [I, D])
  perLayerTensors('mlp.down_proj', [D, I])
  perLayerTensors('mlp.up_proj', [I, D])
  tensors.set('model.norm.weight', take(D))
  offset += rotaryValues
  if (!config.isHeadTied) tensors.set('lm_head.weight', take(V, D))
  return { config, tensors }
}
