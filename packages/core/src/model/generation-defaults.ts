import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { SwiftError } from '@swift/spec'
import type { GenerationOptions } from '../options/generation-options.ts'

/**
 * Sampling that a model's `generation_config.json` recommends; empty where it has none. Without `do_sample` the model
 * is greedy, as in transformers.
 * @throws `ERR_CONFIG_INVALID` when the file is not JSON
 */
export async function readGenerationDefaults(folder: string): Promise<GenerationOptions> {
  const path = join(folder, 'generation_config.json')
  const text = await readFile(path, 'utf8').catch(() => undefined)
  if (text === undefined) return {}
  let config: Readonly<Record<string, unknown>>
  try {
    config = JSON.parse(text) as Record<string, unknown>
  } catch (cause) {
    throw new SwiftError({
      code: 'ERR_CONFIG_INVALID',
      asked: `Reading ${path}`,
      found: 'it is not JSON',
      remedy: 'Download or save it again',
      cause,
    })
  }
  const number = (name: string): number | undefined => {
    const value = config[name]
    return typeof value === 'number' && Number.isFinite(value) ? value : undefined
  }
  const samples = config['do_sample'] === true
  const values = {
    temperature: samples ? (number('temperature') ?? 1) : undefined,
    topK: samples ? number('top_k') : undefined,
    topP: samples ? number('top_p') : undefined,
    repetitionPenalty: number('repetition_penalty'),
  }
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined))
}
