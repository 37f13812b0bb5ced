import { createWriteStream } from 'node:fs'
import { copyFile, cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { PretrainTrainer, SwiftModel, TrainerArguments, type TrainResult } from '@swift/core'
import { Corpus } from './source/corpus.ts'
import { initialWeights } from './source/initial-weights.ts'
import { machineOfRun } from './source/machine-of-run.ts'
import { paths } from './source/paths.ts'
import { recipe } from './source/recipe.ts'
import { readSpecialIds } from './source/tokenizer-text.ts'
import type { World } from './source/world.ts'

interface LossPoint {
  readonly step: number
  readonly loss: number
  readonly tokenAccuracy: number
  readonly learningRate: number
}

const round = (value: number, digits: number): number => Number(value.toPrecision(digits))

function* corpusLines(world: World): Generator<string> {
  const corpus = new Corpus(world)
  for (let index = 0; index < recipe.documents; index += 1)
    yield `${JSON.stringify({ text: corpus.document(index) })}\n`
}

/** A folder with the untrained model in float32, beside the tokenizer that is trained already. */
async function writeInitialModel(folder: string, seed: number): Promise<void> {
  await mkdir(folder, { recursive: true })
  for (const name of ['config.json', 'generation_config.json', 'tokenizer.json', 'tokenizer_config.json']) {
    await copyFile(join(paths.model, name), join(folder, name))
  }
  const { size } = readSpecialIds(await readFile(join(folder, 'tokenizer.json'), 'utf8'))
  await writeFile(join(folder, 'model.safetensors'), initialWeights(seed, recipe.shape, size))
}

async function writeLog(result: TrainResult, points: readonly LossPoint[], computeDtype: string): Promise<void> {
  const log = {
    recipe,
    machine: machineOfRun(),
    computeDtype,
    finishedAt: new Date().toISOString().slice(0, 10),
    steps: result.step,
    tokens: result.tokens,
    durationSeconds: round(result.durationMs / 1000, 4),
    tokensPerSecond: round(result.tokens / (result.durationMs / 1000), 4),
    energy: result.energy ?? `unavailable: ${result.energyUnavailable ?? 'no ledger'}`,
    loss: points,
  }
  const text = JSON.stringify(log, (_, value: unknown) => (typeof value === 'bigint' ? value.toString() : value), 2)
  await writeFile(paths.trainingLog, `${text}\n`)
}

/**
 * Pre-trains the base model from seeded random weights on the generated corpus, all of it float32, and puts its bfloat16
 * weights into `model/`. An interrupted run is continued when the same work folder is given again.
 * @param workFolder - where corpus, initial model and checkpoints go; default: a temporary one that is removed
 */
export async function pretrain(world: World, workFolder?: string): Promise<TrainResult> {
  const work = workFolder ?? (await mkdtemp(join(tmpdir(), 'swift-embedded-')))
  const initial = join(work, 'initial')
  const corpusFile = join(work, 'corpus.jsonl')
  await writeInitialModel(initial, world.seed)
  await pipeline(Readable.from(corpusLines(world)), createWriteStream(corpusFile))

  const { learningRate, warmupRatio, weightDecay, maxLength, rowsPerStep, saveSteps, maxSteps } = recipe.pretraining
  using model = await SwiftModel.fromPretrained(initial, {
    config: { type: 'full' },
    computeDtype: 'float32',
    seed: world.seed,
  })
  const args = new TrainerArguments({
    outputDir: join(work, 'run'),
    maxSteps,
    learningRate,
    lrSchedulerType: 'cosine',
    warmupRatio,
    weightDecay,
    perDeviceTrainBatchSize: rowsPerStep,
    gradientAccumulationSteps: 1,
    loggingSteps: 25,
    saveSteps,
    saveTotalLimit: 1,
    seed: world.seed,
  })
  const trainer = new PretrainTrainer({ model, args, trainDataset: corpusFile, maxLength })
  const points: LossPoint[] = []
  trainer.on('plan', ({ plan }) => console.log(String(plan)))
  trainer.on('log', ({ step, loss, tokenAccuracy, learningRate: rate }) => {
    points.push({ step, loss: round(loss, 5), tokenAccuracy: round(tokenAccuracy, 4), learningRate: round(rate, 3) })
  })
  trainer.on('step', ({ step, totalSteps, loss, tokensPerSecond, remainingMs }) => {
    if (step % 50 !== 0) return
    console.log(
      `step ${step}/${totalSteps}  loss ${loss.toFixed(4)}  ${Math.round(tokensPerSecond)} tokens/s  ${Math.round(remainingMs / 1000)} s left`,
    )
  })
  const result = await trainer.train()

  const exported = join(work, 'exported')
  await rm(exported, { recursive: true, force: true })
  await model.exportMerged(exported, { dtype: 'bfloat16' })
  await cp(join(exported, 'model.safetensors'), join(paths.model, 'model.safetensors'))
  await writeLog(result, points, 'float32')
  if (workFolder === undefined) await rm(work, { recursive: true, force: true })
  return result
}
