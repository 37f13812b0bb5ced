/**
 * Makes the embedded default again: `node --conditions=@swift/source embedded/make.ts [dataset|tokenizer|model|check …]`.
 * Without a name it does all four. `--work <folder>` keeps the corpus and checkpoints of the pre-training there, so that
 * an interrupted run can be continued.
 */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { datasetText } from './source/dataset-text.ts'
import { makeModelFiles } from './source/model-files.ts'
import { paths } from './source/paths.ts'
import { recipe } from './source/recipe.ts'
import { readSpecialIds, tokenizerText } from './source/tokenizer-text.ts'
import { makeWorld } from './source/world.ts'

const stages = ['dataset', 'tokenizer', 'model', 'check'] as const

const { positionals, values } = parseArgs({ allowPositionals: true, options: { work: { type: 'string' } } })
const unknown = positionals.find((name) => !stages.some((stage) => stage === name))
if (unknown !== undefined) {
  console.error(`There is no stage "${unknown}"; the stages are ${stages.join(', ')}.`)
  process.exit(2)
}
const isAsked = (stage: (typeof stages)[number]): boolean => positionals.length === 0 || positionals.includes(stage)
const world = makeWorld(recipe.seed)

if (isAsked('dataset')) {
  const { train, heldOut } = datasetText(world)
  await mkdir(paths.data, { recursive: true })
  await writeFile(paths.train, train)
  await writeFile(paths.heldOut, heldOut)
  console.log(`dataset: ${train.split('\n').length - 1} rows to train on, ${heldOut.split('\n').length - 1} held out`)
}

if (isAsked('tokenizer')) {
  const tokenizer = tokenizerText(world)
  const { size, tokenId } = readSpecialIds(tokenizer)
  await mkdir(paths.model, { recursive: true })
  await writeFile(join(paths.model, 'tokenizer.json'), tokenizer)
  for (const [name, text] of Object.entries(makeModelFiles({ shape: recipe.shape, vocabularySize: size, tokenId }))) {
    await writeFile(join(paths.model, name), text)
  }
  console.log(`tokenizer: ${size} tokens`)
}

if (isAsked('model')) {
  const { pretrain } = await import('./train.ts')
  const { step, tokens, durationMs, loss } = await pretrain(world, values.work)
  console.log(
    `model: ${step} steps, ${tokens} tokens in ${Math.round(durationMs / 1000)} s, last loss ${loss?.toFixed(4) ?? 'none'}`,
  )
}

if (isAsked('check')) {
  const { check } = await import('./check.ts')
  await check()
}
