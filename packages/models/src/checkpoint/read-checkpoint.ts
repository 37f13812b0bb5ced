import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { SwiftError } from '@swift/spec'
import type { DecoderConfig } from '../config/decoder-config.ts'
import { readDecoderConfig } from '../config/read-decoder-config.ts'
import { WeightFiles } from '../safetensors/weight-files.ts'

/** A checkpoint folder, opened: configuration and mapped weights. */
export interface Checkpoint {
  readonly folder: string
  readonly config: DecoderConfig
  readonly weights: WeightFiles
}

/** Reads a JSON file of a model folder; undefined where it is missing. @throws `ERR_CONFIG_INVALID` */
export function readJsonFile(path: string): Readonly<Record<string, unknown>> | undefined {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
  const invalid = (found: string, cause?: unknown): SwiftError =>
    new SwiftError({
      code: 'ERR_CONFIG_INVALID',
      asked: `Reading ${path}`,
      found,
      remedy: 'Download or save it again',
      cause,
    })
  let parsed: unknown
  try {
    parsed = JSON.parse(text)
  } catch (cause) {
    throw invalid(`it is not JSON (${cause instanceof Error ? cause.message : String(cause)})`, cause)
  }
  if (typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed)) return parsed as Record<string, unknown>
  throw invalid(`it holds ${Array.isArray(parsed) ? 'a list' : JSON.stringify(parsed)} instead of an object`)
}

/** Reads `config.json` of a folder. @throws `ERR_MODEL_MISSING`, `ERR_ARCHITECTURE_UNKNOWN`, `ERR_CONFIG_INVALID` */
export function readModelConfig(folder: string): DecoderConfig {
  if (statSync(folder, { throwIfNoEntry: false })?.isDirectory() !== true) {
    throw new SwiftError({
      code: 'ERR_MODEL_MISSING',
      asked: `The model ${folder}`,
      found: 'there is no such folder',
      remedy: 'Name a local folder with config.json, safetensors and tokenizer.json; hub ids are not loaded',
      details: { folder },
    })
  }
  const config = readJsonFile(join(folder, 'config.json'))
  if (config !== undefined) return readDecoderConfig(config)
  throw new SwiftError({
    code: 'ERR_MODEL_MISSING',
    asked: `The model ${folder}`,
    found: 'the folder holds no config.json',
    remedy: 'Name the folder that holds config.json and the weights',
    details: { folder },
  })
}

/** Opens a checkpoint folder. @throws those of {@link readModelConfig}, `ERR_WEIGHTS_MISSING`, `ERR_SAFETENSORS_…` */
export function openCheckpoint(folder: string): Checkpoint {
  return { folder, config: readModelConfig(folder), weights: WeightFiles.open(folder) }
}
