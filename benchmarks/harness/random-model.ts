import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { randomCausalLM, saveCausalLM } from '@swift/models'
import { device } from '@swift/tensor'
import { repository } from './machine.ts'
import { configOf, shapes, type Shape, type ShapeName } from './shapes.ts'

const cache = join(repository, 'runs/bench/models')

/**
 * Folder of a model of that shape with random bfloat16 weights, written by our own writer at the first call and kept.
 * @param layers - fewer layers than the shape has
 */
export async function randomModelFolder(name: ShapeName, layers?: number): Promise<string> {
  const shape: Shape = { ...shapes[name], ...(layers === undefined ? {} : { layers }) }
  const folder = join(cache, layers === undefined ? name : `${name}-${layers}-layers`)
  const config = `${JSON.stringify(configOf(shape), null, 2)}\n`
  const written = join(folder, 'bench-config.json')
  if (existsSync(written) && readFileSync(written, 'utf8') === config) return folder
  const unfinished = `${folder}.unfinished`
  rmSync(unfinished, { recursive: true, force: true })
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(unfinished, { recursive: true })
  using model = randomCausalLM(configOf(shape), { device: device('cpu'), dtype: 'bfloat16', seed: 1 })
  await saveCausalLM(model, unfinished, { dtype: 'bfloat16' })
  writeFileSync(join(unfinished, 'bench-config.json'), config)
  renameSync(unfinished, folder)
  return folder
}

/** `count` token ids below `vocabulary`, the same for the same seed (a linear congruential generator, Knuth's MMIX). */
export function randomTokens(count: number, vocabulary: number, seed: number): number[] {
  let state = BigInt(seed)
  return Array.from({ length: count }, () => {
    state = (state * 6364136223846793005n + 1442695040888963407n) & 0xffff_ffff_ffff_ffffn
    return Number((state >> 33n) % BigInt(vocabulary))
  })
}
