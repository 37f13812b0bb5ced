import { copyFile, mkdir, open, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { cast, type Tensor } from '@swift/tensor'
import type { CausalLM } from '../network/causal-lm.ts'
import { indexFile, singleFile } from '../safetensors/weight-files.ts'
import { writeError, writeSafetensors } from '../safetensors/write-safetensors.ts'
import type { AnyQuantizer } from './load-causal-lm.ts'

/** How {@link saveCausalLM} saves. */
export interface SaveOptions {
  /** Dtype of dense weights. Default: as the model holds them; trained float32 weights as the checkpoint had them. */
  readonly dtype?: 'float32' | 'bfloat16' | 'float16'
  /** Longest shard. Default 5 GB. */
  readonly maxShardBytes?: number
  /** Writes quantized weights in its checkpoint layout; without it they must be dense. */
  readonly quantizer?: { readonly quantizer: AnyQuantizer; readonly options: unknown }
  /** Folder whose tokenizer, template and generation files are copied. */
  readonly tokenizerFolder?: string
}

const companions = [
  'tokenizer.json',
  'tokenizer_config.json',
  'vocab.json',
  'merges.txt',
  'special_tokens_map.json',
  'added_tokens.json',
  'chat_template.jinja',
  'chat_template.json',
  'generation_config.json',
]

const dtypes: Readonly<Record<string, 'float32' | 'bfloat16' | 'float16'>> = {
  float32: 'float32',
  bfloat16: 'bfloat16',
  float16: 'float16',
}

function sourceDtype(source: Readonly<Record<string, unknown>>): 'float32' | 'bfloat16' | 'float16' | undefined {
  return dtypes[String(source['dtype'] ?? source['torch_dtype'])]
}

interface Shard {
  readonly tensors: Map<string, Tensor>
  bytes: number
}

/** Writes text into a file, flushed, through a rename. */
async function writeText(path: string, text: string): Promise<void> {
  const temporary = `${path}.${process.pid}.tmp`
  try {
    const handle = await open(temporary, 'w')
    try {
      await handle.writeFile(text)
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(temporary, path)
  } catch (cause) {
    await rm(temporary, { force: true })
    throw writeError(path, cause)
  }
}

function elementBytes(tensor: Tensor): number {
  const sizes: Partial<Record<Tensor['dtype'], number>> = { float32: 4, float64: 8, bfloat16: 2, float16: 2, uint8: 1 }
  return tensor.elements * (sizes[tensor.dtype] ?? 4)
}

/** The tensors to write for one parameter; `owned` ones are released after writing. */
async function storedTensors(
  name: string,
  value: Tensor,
  options: SaveOptions,
  target: 'float32' | 'bfloat16' | 'float16' | undefined,
): Promise<{ readonly tensors: ReadonlyMap<string, Tensor>; readonly owned: boolean }> {
  if (value.quant !== undefined) {
    const exported = await options.quantizer?.quantizer.doExport?.(value, options.quantizer.options)
    if (exported === undefined) return { tensors: new Map([[name, value]]), owned: false }
    return { tensors: new Map([...exported].map(([rest, tensor]) => [`${name}${rest}`, tensor])), owned: true }
  }
  if (target === undefined || value.dtype === target) return { tensors: new Map([[name, value]]), owned: false }
  return { tensors: new Map([[name, cast(value, target).detachFromScope()]]), owned: true }
}

/**
 * Writes a model into a folder that exists or is made: config.json, safetensors (sharded above `maxShardBytes`), and
 * the companions of its tokenizer. The configuration is written last, so that an interrupted save is no model.
 * @throws `ERR_DISK_FULL`, `ERR_FILE_WRITE`
 */
export async function saveCausalLM(model: CausalLM, folder: string, options: SaveOptions = {}): Promise<void> {
  await mkdir(folder, { recursive: true }).catch((cause: unknown) => {
    throw writeError(folder, cause)
  })
  const { config } = model
  const parameters = model.parameters()
  const trained = parameters.some(({ trainable }) => trainable)
  const target = options.dtype ?? (trained ? sourceDtype(config.source) : undefined)
  const limit = options.maxShardBytes ?? 5e9
  const shards: Shard[] = [{ tensors: new Map(), bytes: 0 }]
  const owned: Tensor[] = []
  try {
    for (const { name, value } of parameters) {
      const stored = await storedTensors(name, value, options, target)
      for (const [key, tensor] of stored.tensors) {
        const bytes = elementBytes(tensor)
        let shard = shards.at(-1) as Shard
        if (shard.bytes > 0 && shard.bytes + bytes > limit) {
          shard = { tensors: new Map(), bytes: 0 }
          shards.push(shard)
        }
        shard.tensors.set(key, tensor)
        shard.bytes += bytes
        if (stored.owned) owned.push(tensor)
      }
    }
    await writeShards(folder, shards)
  } finally {
    for (const tensor of owned) tensor.release()
  }
  await copyCompanions(options.tokenizerFolder, folder)
  await writeText(join(folder, 'config.json'), `${JSON.stringify(savedConfig(model, options, target), null, 2)}\n`)
}

async function writeShards(folder: string, shards: readonly Shard[]): Promise<void> {
  const metadata = { format: 'pt' }
  if (shards.length === 1) {
    await writeSafetensors(join(folder, singleFile), (shards[0] as Shard).tensors, { metadata })
    return
  }
  const count = String(shards.length).padStart(5, '0')
  const map: Record<string, string> = {}
  for (const [index, { tensors }] of shards.entries()) {
    const name = `model-${String(index + 1).padStart(5, '0')}-of-${count}.safetensors`
    await writeSafetensors(join(folder, name), tensors, { metadata })
    for (const key of tensors.keys()) map[key] = name
  }
  const total = shards.reduce((sum, { bytes }) => sum + bytes, 0)
  await writeText(
    join(folder, indexFile),
    `${JSON.stringify({ metadata: { total_size: total }, weight_map: map }, null, 2)}\n`,
  )
}

async function copyCompanions(from: string | undefined, folder: string): Promise<void> {
  if (from === undefined || from === folder) return
  for (const name of companions) {
    const path = join(from, name)
    if ((await stat(path).catch(() => undefined))?.isFile() !== true) continue
    await copyFile(path, join(folder, name)).catch((cause: unknown) => {
      throw writeError(join(folder, name), cause)
    })
  }
}

function savedConfig(
  model: CausalLM,
  options: SaveOptions,
  target: string | undefined,
): Readonly<Record<string, unknown>> {
  const { quantization_config: _old, ...source } = model.config.source
  const quantized = model.parameters().some(({ value }) => value.quant !== undefined)
  const quantization = quantized ? options.quantizer?.quantizer.doWriteConfig?.(options.quantizer.options) : undefined
  return {
    ...source,
    ...(target === undefined ? {} : { ['torch_dtype' in source ? 'torch_dtype' : 'dtype']: target }),
    ...(quantization === undefined ? {} : { quantization_config: quantization }),
  }
}
