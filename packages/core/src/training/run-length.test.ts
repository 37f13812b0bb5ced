import { expect, it } from 'vitest'
import { TrainerArguments } from '../options/trainer-arguments.ts'
import type { TrainerOptions } from '../options/trainer-options.ts'
import type { BatchSource } from './batch-source.ts'
import { deriveRunLength, positionAfter, positionsOfStep } from './run-length.ts'

const source = (batchesPerEpoch: number, sequencesPerEpoch: number, tokensPerEpoch: number): BatchSource =>
  ({ batchesPerEpoch, sequencesPerEpoch, tokensPerEpoch }) as unknown as BatchSource
const derive = (options: TrainerOptions, of: BatchSource): ReturnType<typeof deriveRunLength> =>
  deriveRunLength(new TrainerArguments(options), of)

it('derives accumulation from about 16 sequences per step, or from tokens', () => {
  expect(derive({}, source(100, 400, 51_200)).gradientAccumulationSteps).toBe(4)
  expect(derive({}, source(100, 3200, 51_200)).gradientAccumulationSteps).toBe(1)
  expect(derive({}, source(3, 3, 300)).gradientAccumulationSteps).toBe(3)
  expect(derive({ tokensPerStep: 4096 }, source(100, 400, 51_200)).gradientAccumulationSteps).toBe(8)
  expect(derive({ gradientAccumulationSteps: 5 }, source(100, 400, 51_200)).gradientAccumulationSteps).toBe(5)
})

it('counts steps, warmup and intervals', () => {
  const length = derive({ gradientAccumulationSteps: 4, numTrainEpochs: 2.5, warmupRatio: 0.1 }, source(10, 10, 100))
  expect(length).toMatchObject({ stepsPerEpoch: 3, totalSteps: 8, warmupSteps: 1, evalSteps: 3, saveSteps: 3 })
  expect(derive({ gradientAccumulationSteps: 1, maxSteps: 25 }, source(10, 10, 100)).totalSteps).toBe(25)
  expect(
    derive({ gradientAccumulationSteps: 1, maxSteps: 25, numTrainEpochs: 1 }, source(10, 10, 100)).totalSteps,
  ).toBe(10)
  expect(derive({ gradientAccumulationSteps: 1, numTrainEpochs: 25 }, source(4, 4, 40))).toMatchObject({
    totalSteps: 100,
    evalSteps: 12,
  })
  expect(derive({ evalSteps: 7 }, source(10, 10, 100))).toMatchObject({ evalSteps: 7, saveSteps: 7 })
})

it('never lets a step cross an epoch', () => {
  const data = source(5, 5, 50)
  const length = derive({ gradientAccumulationSteps: 2, numTrainEpochs: 2 }, data)
  let position = { epoch: 0, batchIndex: 0 }
  const steps: string[] = []
  for (let step = 0; step < length.totalSteps; step += 1) {
    const positions = positionsOfStep(position, length, data)
    steps.push(positions.map(({ epoch, batchIndex }) => `${epoch}.${batchIndex}`).join(' '))
    position = positionAfter(positions.at(-1) ?? position, data)
  }
  expect(steps).toEqual(['0.0 0.1', '0.2 0.3', '0.4', '1.0 1.1', '1.2 1.3', '1.4'])
})
