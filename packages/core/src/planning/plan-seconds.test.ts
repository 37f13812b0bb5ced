import { join } from 'node:path'
import { device } from '@swift/tensor'
import { describe, expect, it } from 'vitest'
import { runCarbon } from '../energy/run-carbon.ts'
import { RunEnergy } from '../energy/run-energy.ts'
import { SwiftModel } from '../model/swift-model.ts'
import type { SwiftModelOptions } from '../model/swift-model-options.ts'
import { TrainerArguments } from '../options/trainer-arguments.ts'
import type { TrainerOptions } from '../options/trainer-options.ts'
import { pluginRegistry } from '../plugins/plugin-registry.ts'
import { goldens } from '../testing/golden-rows.ts'
import { fixedBatches } from '../training/batch-source.ts'
import { deriveRunLength } from '../training/run-length.ts'
import { decaysMatrices } from '../training/update.ts'
import { layerBatches, probeMachine, type ProbedMachine } from './machine-probe.ts'
import { makePlan } from './make-plan.ts'
import { OpTimes } from './op-times.ts'
import { opsOfBatch, worstBatch, type MetaRun } from './step-forecast.ts'
import type { TrainingPlan } from './training-plan.ts'

const rates = { flopsPerSecond: 1e9, bytesPerSecond: 1e9, secondsPerOp: 1e-6 }
const lora: SwiftModelOptions = {
  config: { type: 'lora', r: 4, loraAlpha: 8, loraDropout: 0, targetModules: 'all-linear' },
  computeDtype: 'float32',
}

function loadModel(options: SwiftModelOptions = lora): Promise<SwiftModel> {
  return SwiftModel.fromPretrained(join(goldens, 'models/qwen3'), options)
}

/** A plan over batches of `tokens` by a machine that is told, not measured. */
async function planBy(machine: ProbedMachine, tokens: number, options: TrainerOptions = {}): Promise<TrainingPlan> {
  using model = await loadModel()
  const source = fixedBatches([worstBatch(tokens), worstBatch(tokens)], 'worst')
  const args = new TrainerArguments({ maxSteps: 4, gradientAccumulationSteps: 1, ...options })
  return await makePlan({
    model,
    args,
    source,
    length: deriveRunLength(args, source),
    learningRate: 1e-4,
    rule: {
      optimizer: await pluginRegistry().optimizer('sgd'),
      options: {},
      state: new Map(),
      weightDecay: 0,
      decays: decaysMatrices,
      maxGradNorm: 1,
    },
    energy: RunEnergy.none('a test'),
    carbon: runCarbon(args, undefined),
    probeMachine: () => Promise.resolve(machine),
  })
}

const unprobed = (given: Partial<ProbedMachine['probe']> = {}): ProbedMachine => ({
  probe: { ...rates, layerTokens: [], durationSeconds: 0, ...given },
  ops: [],
})

describe('the time of a plan', () => {
  it('is the sum of its ops by the rates it is given', async () => {
    const latency = unprobed({ flopsPerSecond: 1e30, bytesPerSecond: 1e30, secondsPerOp: 1e-3 })
    const byCalls = await planBy(latency, 40)
    expect(byCalls.secondsPerStep).toBeCloseTo(byCalls.fields.workPerStep.ops * 1e-3, 9)
    expect(byCalls.seconds).toBeCloseTo(4 * byCalls.secondsPerStep, 9)
    const traffic = unprobed({ flopsPerSecond: 1e30, bytesPerSecond: 1e6, secondsPerOp: 0 })
    const byBytes = await planBy(traffic, 40)
    expect(byBytes.secondsPerStep).toBeGreaterThan(0.5 * (byBytes.fields.workPerStep.bytesMoved / 1e6))
    expect(byBytes.secondsPerStep).toBeLessThanOrEqual(1.0001 * (byBytes.fields.workPerStep.bytesMoved / 1e6))
  })

  it('rests on times of the model’s own ops: no op of a layer is left to the general rates', async () => {
    using model = await loadModel()
    const trainables = model.trainables()
    const { ops, probe } = await probeMachine({ network: model.network, trainables, tokens: 48 })
    expect(probe.layerTokens).toEqual([48])
    using twin = await model.metaTwin()
    const optimizer = await pluginRegistry().optimizer('sgd')
    const rule = {
      optimizer,
      options: {},
      state: new Map(),
      weightDecay: 0,
      decays: decaysMatrices,
      maxGradNorm: 1,
    } as const
    const run: MetaRun = { model: twin.network, trainables: twin.trainables(), rule }
    const times = new OpTimes(ops, probe)
    for (const recompute of ['none', 'selective', 'full'] as const) {
      const ops = await opsOfBatch(run, worstBatch(48), recompute)
      const unknown = ops.filter((op) => !times.knows(op, 48)).map(({ name }) => name)
      // Rows of embedding and head are cut; the first layer has no residual stream and hands no gradient on; the
      // gradients of a residual stream are added up between layers, or copied where layers are run again.
      const elsewhere = ['embedding', 'linearCrossEntropy', 'rmsNorm', 'rmsNormBackward', 'linearLoraGradient']
      expect(unknown.filter((name) => ![...elsewhere, 'addScaled', 'cast'].includes(name))).toEqual([])
      for (const name of elsewhere) expect(unknown.filter((other) => other === name).length).toBeLessThanOrEqual(4)
    }
  })

  it('leaves no tensor, no gradient and no recording behind', async () => {
    using model = await loadModel({ config: { type: 'full' }, computeDtype: 'float32' })
    const before = model.device.statistics().liveBytes
    await probeMachine({ network: model.network, trainables: model.trainables(), tokens: 5 })
    expect(model.device.statistics().liveBytes).toBe(before)
    expect(await device('cpu').recordOps(false)).toEqual([])
  })

  it('runs a whole batch where it is short, else two that fit the time', () => {
    expect(layerBatches(256, 1e-5)).toEqual([256])
    expect(layerBatches(512, 5e-4)).toEqual([60, 120])
    expect(layerBatches(512, 1)).toEqual([32, 64])
    expect(layerBatches(40, 1)).toEqual([40])
  })
})

describe('recompute', () => {
  const cheap = unprobed({ flopsPerSecond: 1e9, bytesPerSecond: 1e30, secondsPerOp: 0 })
  // Every op the same: the recomputed ones are a tenth of all.
  const costly = unprobed({ flopsPerSecond: 1e30, bytesPerSecond: 1e30, secondsPerOp: 1e-3 })
  // Enough tokens for hundreds of megabytes; on `meta` they cost nothing.
  const tokens = 200_000

  it('is selective where that saves much for next to no time, and the plan says what it costs', async () => {
    const plan = await planBy(cheap, tokens)
    expect(plan.fields.recompute).toBe('selective')
    expect(plan.fields.recomputeReason).toMatch(/^saves [\d.]+ [MG]iB for \d\.\d % of the time$/)
    const none = await planBy(cheap, tokens, { recompute: 'none' })
    expect(none.fields.recomputeReason).toBe('as asked')
    expect(none.memory.peakBytes).toBeGreaterThan(plan.memory.peakBytes + 64 * 2 ** 20)
    expect(none.secondsPerStep).toBeLessThan(plan.secondsPerStep)
  })

  it('is none where it would cost more, and where it would save little', async () => {
    expect((await planBy(costly, tokens)).fields.recompute).toBe('none')
    expect((await planBy(cheap, 40)).fields.recompute).toBe('none')
  })
})
