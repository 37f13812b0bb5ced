import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it, vi } from 'vitest'
import {
  PretrainTrainer,
  SftTrainer,
  SwiftModel,
  TrainerArguments,
  evaluateExactMatch,
  type TrainingEvent,
} from '../index.ts'
import { capitals, writeCapitals, writeTextModel } from '../testing/text-model.ts'

let root: string
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'swift-text-'))
  await writeTextModel(join(root, 'model'))
  await writeCapitals(join(root, 'train.jsonl'), 8)
  await writeCapitals(join(root, 'held-out.jsonl'), 1)
})
afterAll(() => rm(root, { recursive: true }))

it('teaches a model answers it did not know, from a file of rows', async () => {
  using model = await SwiftModel.fromPretrained(join(root, 'model'), { config: { type: 'full' } })
  const before = await evaluateExactMatch(model, join(root, 'held-out.jsonl'), { maxNewTokens: 16 })
  expect(before.exactMatch).toBe(0)
  const args = new TrainerArguments({
    outputDir: join(root, 'sft'),
    numTrainEpochs: 12,
    learningRate: 5e-3,
    perDeviceTrainBatchSize: 2,
    gradientAccumulationSteps: 1,
    weightDecay: 0,
  })
  const trainer = new SftTrainer({
    model,
    args,
    trainDataset: join(root, 'train.jsonl'),
    evalDataset: join(root, 'held-out.jsonl'),
    maxLength: 64,
  })
  const events: TrainingEvent[] = []
  trainer.on('*', (event) => events.push(event))
  const result = await trainer.train()
  expect(events.some(({ type }) => type === 'progress')).toBe(true)
  expect(result.bestEvaluationLoss).toBeLessThan(0.1)
  const after = await evaluateExactMatch(model, join(root, 'held-out.jsonl'), { maxNewTokens: 16 })
  expect(after.exactMatch).toBe(1)
  expect(after.samples.map(({ answer }) => answer)).toEqual(capitals.map(([, answer]) => answer))

  const [question, answer] = capitals[0] as readonly [string, string]
  const pieces: string[] = []
  for await (const piece of model.generate(question, { maxNewTokens: 16 })) pieces.push(piece)
  expect(pieces.join('')).toBe(answer)
  expect(await model.generate([{ role: 'user', content: question }], { maxNewTokens: 16 })).toBe(answer)

  const folder = join(root, 'saved')
  await model.save(folder)
  using again = await SwiftModel.fromPretrained(folder)
  expect(await again.generate(question, { maxNewTokens: 16 })).toBe(answer)
})

it('accounts the energy of a run by epoch, with measured and modelled apart', async () => {
  using model = await SwiftModel.fromPretrained(join(root, 'model'), { config: { type: 'lora', r: 4 } })
  const args = new TrainerArguments({
    outputDir: join(root, 'energy'),
    numTrainEpochs: 2,
    gradientAccumulationSteps: 1,
  })
  const result = await new SftTrainer({ model, args, trainDataset: join(root, 'train.jsonl'), maxLength: 64 }).train()
  const report = result.energy
  expect(report?.rows.map(({ key }) => key)).toEqual(
    expect.arrayContaining(['epoch:0', 'epoch:1', 'tokenise', 'checkpoint']),
  )
  const { measured, modelled } = report?.phases.energy ?? {}
  expect(measured ?? modelled).toBeDefined()
  expect((measured ?? modelled)?.nanojoules).toBeGreaterThan(0n)
  expect(result.tokens).toBeGreaterThan(0)
})

it('continues documents after pre-training', async () => {
  using model = await SwiftModel.fromPretrained(join(root, 'model'), { config: { type: 'full' } })
  const args = new TrainerArguments({
    outputDir: join(root, 'pt'),
    maxSteps: 40,
    learningRate: 5e-3,
    gradientAccumulationSteps: 1,
    weightDecay: 0,
  })
  const losses: number[] = []
  const trainer = new PretrainTrainer({
    model,
    args,
    trainDataset: join(root, 'train.jsonl'),
    maxLength: 32,
    columns: { query: 'text' },
  })
  trainer.on('step', ({ loss }) => losses.push(loss))
  await trainer.train()
  expect(losses.at(-1)).toBeLessThan((losses[0] ?? 0) / 2)
})

it('loses nothing when the disk is full', async () => {
  using model = await SwiftModel.fromPretrained(join(root, 'model'), { config: { type: 'lora', r: 4 } })
  const folder = join(root, 'full-disk')
  const args = new TrainerArguments({
    outputDir: folder,
    maxSteps: 6,
    saveSteps: 2,
    gradientAccumulationSteps: 1,
    loggingSteps: 1,
  })
  using trainer = new SftTrainer({ model, args, trainDataset: join(root, 'train.jsonl'), maxLength: 64 })
  const write = model.writeTrained.bind(model)
  let saves = 0
  const spy = vi.spyOn(model, 'writeTrained').mockImplementation(async (target) => {
    saves += 1
    await write(target)
    if (saves === 2) throw Object.assign(new Error('no space left on device, write'), { code: 'ENOSPC' })
  })
  await expect(trainer.train()).rejects.toMatchObject({
    code: 'ERR_DISK_FULL',
    remedy: expect.stringContaining('resumeFromCheckpoint'),
  })
  const checkpoint = (await readdir(folder)).filter((name) => name.includes('checkpoint'))
  expect(checkpoint).toEqual(['checkpoint-2'])
  // The state in memory is whole: once there is space, it is saved where the run stopped.
  spy.mockRestore()
  expect(await trainer.saveCheckpoint()).toBe(join(folder, 'checkpoint-4'))
  const state = JSON.parse(await readFile(join(folder, 'checkpoint-4', 'trainer_state.json'), 'utf8')) as {
    step: number
  }
  expect(state.step).toBe(4)
})
