import { readFileSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { SwiftError } from '@swift/spec'
import type { Device, Tensor } from '@swift/tensor'
import { safetensorsError, type TensorEntry } from './header.ts'
import { SafetensorsFile } from './safetensors-file.ts'

/** Name of the weights in one file. */
export const singleFile = 'model.safetensors'
/** Name of the index of sharded weights. */
export const indexFile = 'model.safetensors.index.json'

/** The tensors of a folder or file, by name, over one or several mapped files. */
export class WeightFiles {
  readonly #places: ReadonlyMap<string, SafetensorsFile>
  /** Metadata of the first file. */
  readonly metadata: Readonly<Record<string, string>>

  private constructor(places: ReadonlyMap<string, SafetensorsFile>, metadata: Readonly<Record<string, string>>) {
    this.#places = places
    this.metadata = metadata
  }

  /**
   * Opens a safetensors file, or a folder with `model.safetensors` or a sharded index.
   * @throws `ERR_WEIGHTS_MISSING`, `ERR_SAFETENSORS_…`
   */
  static open(path: string): WeightFiles {
    if (isFile(path)) return WeightFiles.#over([SafetensorsFile.open(path)])
    if (isFile(join(path, indexFile))) return WeightFiles.#sharded(join(path, indexFile))
    if (isFile(join(path, singleFile))) return WeightFiles.#over([SafetensorsFile.open(join(path, singleFile))])
    throw new SwiftError({
      code: 'ERR_WEIGHTS_MISSING',
      asked: `The weights in ${path}`,
      found: `neither ${singleFile} nor ${indexFile}`,
      remedy: 'Name the folder of a model in safetensors format',
    })
  }

  static #over(files: readonly SafetensorsFile[]): WeightFiles {
    const places = new Map(
      files.flatMap((file) => [...file.header.tensors.keys()].map((name) => [name, file] as const)),
    )
    return new WeightFiles(places, files[0]?.header.metadata ?? {})
  }

  static #sharded(path: string): WeightFiles {
    const map = readIndex(path)
    const files = new Map(
      [...new Set(Object.values(map))].map((name) => [name, SafetensorsFile.open(join(dirname(path), name))]),
    )
    const places = new Map<string, SafetensorsFile>()
    for (const [name, shard] of Object.entries(map)) {
      const file = files.get(shard) as SafetensorsFile
      file.entry(name)
      places.set(name, file)
    }
    return new WeightFiles(places, [...files.values()][0]?.header.metadata ?? {})
  }

  /** Names of all tensors. */
  names(): readonly string[] {
    return [...this.#places.keys()]
  }

  /** Whether there is a tensor of that name. */
  has(name: string): boolean {
    return this.#places.has(name)
  }

  /** Dtype and shape of a tensor, if there. */
  entry(name: string): TensorEntry | undefined {
    return this.#places.get(name)?.entry(name)
  }

  /** The tensor on a device. @throws `ERR_SAFETENSORS_TENSOR` */
  tensor(name: string, device: Device): Tensor {
    const file = this.#places.get(name)
    if (file === undefined)
      throw safetensorsError('ERR_SAFETENSORS_TENSOR', 'the weights', `they hold no tensor ${name}`, 'Check the name')
    return file.tensor(name, device)
  }
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() === true
}

function readIndex(path: string): Readonly<Record<string, string>> {
  let parsed: unknown
  try {
    parsed = JSON.parse(readFileSync(path, 'utf8'))
  } catch (cause) {
    throw safetensorsError(
      'ERR_SAFETENSORS_INDEX',
      path,
      `it is not JSON (${cause instanceof Error ? cause.message : String(cause)})`,
    )
  }
  const map = (parsed as { weight_map?: unknown } | null)?.weight_map
  if (typeof map !== 'object' || map === null)
    throw safetensorsError('ERR_SAFETENSORS_INDEX', path, 'it has no weight_map')
  for (const shard of Object.values(map)) {
    if (typeof shard !== 'string' || !/^[^/\\]+\.safetensors$/.test(shard)) {
      throw safetensorsError('ERR_SAFETENSORS_INDEX', path, `it names the shard ${JSON.stringify(shard)}`)
    }
  }
  return map as Record<string, string>
}
