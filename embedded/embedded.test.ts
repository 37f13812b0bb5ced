import { existsSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { datasetText } from './source/dataset-text.ts'
import { makeModelFiles } from './source/model-files.ts'
import { paths } from './source/paths.ts'
import { recipe } from './source/recipe.ts'
import { readSpecialIds, tokenizerText } from './source/tokenizer-text.ts'
import { makeWorld } from './source/world.ts'

const world = makeWorld(recipe.seed)
const read = (path: string): string => readFileSync(path, 'utf8')
const here = (name: string): string => join(paths.model, '..', name)

interface Header {
  readonly [name: string]: { readonly dtype: string; readonly shape: readonly number[] }
}

function safetensorsHeader(path: string): Header {
  const bytes = readFileSync(path)
  const { __metadata__: _metadata, ...tensors } = JSON.parse(
    bytes.subarray(8, 8 + Number(bytes.readBigUInt64LE(0))).toString(),
  ) as Header
  return tensors
}

describe('the embedded default', () => {
  it('has the dataset that the generator makes, bit for bit', () => {
    const { train, heldOut } = datasetText(world)
    expect(read(paths.train)).toBe(train)
    expect(read(paths.heldOut)).toBe(heldOut)
  })

  it('has the tokenizer and the JSON files that the generator makes, bit for bit', () => {
    const tokenizer = tokenizerText(world)
    expect(read(join(paths.model, 'tokenizer.json'))).toBe(tokenizer)
    const { size, tokenId } = readSpecialIds(tokenizer)
    for (const [name, text] of Object.entries(makeModelFiles({ shape: recipe.shape, vocabularySize: size, tokenId }))) {
      expect(read(join(paths.model, name)), name).toBe(text)
    }
  })

  it('has bfloat16 weights of a few MB whose quantized sides are multiples of the NF4 block', () => {
    const file = join(paths.model, 'model.safetensors')
    expect(statSync(file).size).toBeLessThan(6 * 1024 * 1024)
    const tensors = Object.entries(safetensorsHeader(file))
    const linear = tensors.filter(([name]) => name.includes('_proj'))
    expect(linear).toHaveLength(7 * recipe.shape.layers)
    for (const [name, { dtype }] of tensors) expect(dtype, name).toBe('BF16')
    for (const [name, { shape }] of linear) for (const side of shape) expect(side % 64, name).toBe(0)
  })

  it('says how it was made, what it scores and under which licence', () => {
    const readme = read(here('README.md'))
    for (const word of ['Apache-2.0', 'make.ts', 'exact match', 'training-log.json']) expect(readme).toContain(word)
    expect(existsSync(here('../LICENSE'))).toBe(true)
    const log = JSON.parse(read(paths.trainingLog)) as {
      readonly recipe: unknown
      readonly loss: readonly { readonly loss: number }[]
    }
    expect(log.recipe).toEqual(JSON.parse(JSON.stringify(recipe)))
    expect(log.loss.at(-1)?.loss ?? Infinity).toBeLessThan((log.loss[0]?.loss ?? 0) / 3)
  })

  it('has measured scores that keep the promise: below 10 % before, above 90 % after, for every seed', () => {
    const { scores } = JSON.parse(read(paths.scores)) as {
      readonly scores: readonly { readonly before: number; readonly after: number }[]
    }
    expect(scores.length).toBeGreaterThanOrEqual(3)
    for (const { before, after } of scores) {
      expect(before).toBeLessThan(0.1)
      expect(after).toBeGreaterThan(0.9)
    }
  })
})
