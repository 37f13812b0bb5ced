import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  evaluateExactMatch,
  SftTrainer,
  SwiftModel,
  TrainerArguments,
  type SwiftConfig,
  type TrainResult,
} from '@swift/core'
import bnbPlugin from '@swift/plugin-bnb'
import loraPlugin from '@swift/plugin-lora'
import { fineTuning } from '../../embedded/source/fine-tuning.ts'
import { paths } from '../../embedded/source/paths.ts'
import { makeRow, type Row } from '../harness/row.ts'
import { numberOption, type Suite, type SuiteContext } from '../harness/suite.ts'

interface Method {
  readonly name: string
  readonly config: SwiftConfig
  readonly loadIn4bit: boolean
  readonly learningRate: number
}

/** What one training came to. */
interface Outcome {
  readonly kilowattHoursPerEpoch: number | undefined
  readonly provenance: 'measured' | 'modelled' | undefined
  readonly exactMatch: number
  readonly secondsPerEpoch: number
  readonly tokensPerSecond: number
  readonly peakBytes: number
}

/** Rates: the embedded recipe's for adapters; for full fine-tuning one of the size that its many more weights bear. */
const fullLearningRate = 3e-4

function methodsOf(ranks: readonly number[]): readonly Method[] {
  const adapter = (r: number, loadIn4bit: boolean): Method => ({
    name: `${loadIn4bit ? 'QLoRA' : 'LoRA'} r=${r}`,
    config: { type: 'lora', r, loraAlpha: 2 * r, loraDropout: 0, targetModules: 'all-linear' },
    loadIn4bit,
    learningRate: fineTuning.learningRate,
  })
  return [
    { name: 'full', config: { type: 'full' }, loadIn4bit: false, learningRate: fullLearningRate },
    ...ranks.map((rank) => adapter(rank, false)),
    ...ranks.map((rank) => adapter(rank, true)),
  ]
}

/** Energy of the training phases, measured where a counter was read, else modelled; idle power of that time included. */
function energyOf(result: TrainResult): Pick<Outcome, 'kilowattHoursPerEpoch' | 'provenance'> {
  const energy = result.energy?.phases.energy
  const provenance =
    energy?.measured !== undefined ? 'measured' : energy?.modelled !== undefined ? 'modelled' : undefined
  const nanojoules = provenance === undefined ? undefined : energy?.[provenance]?.nanojoules
  const kilowattHours = nanojoules === undefined ? undefined : Number(nanojoules) / 1e9 / 3.6e6
  return { kilowattHoursPerEpoch: kilowattHours && kilowattHours / result.epochs, provenance }
}

async function train(method: Method, epochs: number, seed: number): Promise<Outcome> {
  const outputDir = mkdtempSync(join(tmpdir(), 'swift-bench-epoch-'))
  try {
    using model = await SwiftModel.fromPretrained(paths.model, {
      plugins: [loraPlugin, bnbPlugin],
      config: method.config,
      loadIn4bit: method.loadIn4bit,
      seed,
    })
    const trainer = new SftTrainer({
      model,
      args: new TrainerArguments({
        outputDir,
        numTrainEpochs: epochs,
        learningRate: method.learningRate,
        warmupRatio: fineTuning.warmupRatio,
        weightDecay: fineTuning.weightDecay,
        perDeviceTrainBatchSize: fineTuning.rowsPerStep,
        gradientAccumulationSteps: 1,
        seed,
      }),
      trainDataset: paths.train,
      maxLength: fineTuning.maxLength,
    })
    const result = await trainer.train()
    const { exactMatch } = await evaluateExactMatch(model, paths.heldOut, { maxNewTokens: 24 })
    return {
      ...energyOf(result),
      exactMatch,
      secondsPerEpoch: result.durationMs / 1000 / result.epochs,
      tokensPerSecond: (1000 * result.tokens) / result.durationMs,
      peakBytes: result.planComparison?.actualBytes ?? Number.NaN,
    }
  } finally {
    rmSync(outputDir, { recursive: true, force: true })
  }
}

function rowsOf({ name }: Method, outcomes: readonly Outcome[], othersShare: number | undefined): Row[] {
  const energy = outcomes.map((outcome) => outcome.kilowattHoursPerEpoch).filter((value) => value !== undefined)
  const less = { othersShare, lowerIsBetter: true }
  return [
    makeRow({
      name: `${name}: energy`,
      unit: 'mWh/epoch',
      ours: energy.map((kilowattHours) => kilowattHours * 1e6),
      note:
        energy.length === 0
          ? 'no energy source: unavailable'
          : `${outcomes[0]?.provenance ?? ''}; ${(energy[0] ?? 0).toExponential(3)} kWh/epoch`,
      ...less,
    }),
    makeRow({
      name: `${name}: exact match`,
      unit: '%',
      ours: outcomes.map((outcome) => 100 * outcome.exactMatch),
      othersShare,
    }),
    makeRow({
      name: `${name}: time`,
      unit: 's/epoch',
      ours: outcomes.map((outcome) => outcome.secondsPerEpoch),
      ...less,
    }),
    makeRow({
      name: `${name}: speed`,
      unit: 'tokens/s',
      ours: outcomes.map((outcome) => outcome.tokensPerSecond),
      othersShare,
    }),
    makeRow({
      name: `${name}: peak of tensors`,
      unit: 'MiB',
      ours: outcomes.map((outcome) => outcome.peakBytes / 2 ** 20),
      ...less,
    }),
  ]
}

async function measure({ options, watch, say }: SuiteContext): Promise<readonly Row[]> {
  const [rounds, epochs] = [numberOption(options, 'rounds'), numberOption(options, 'epochs')]
  const ranks = String(options.get('ranks')).split(',').map(Number)
  const methods = methodsOf(ranks)
  say(
    `the embedded model on its dataset, ${epochs} epochs each, a seed per round; held-out rows answered exactly; rate ${fineTuning.learningRate}, full ${fullLearningRate}`,
  )
  const outcomes = new Map(methods.map((method): [Method, Outcome[]] => [method, []]))
  watch.restart()
  // One round of all methods after another, so that a slow minute of the machine is shared. The first warms up.
  await train(methods[1] as Method, 1, 1)
  for (let round = 0; round < rounds; round++) {
    for (const [method, found] of outcomes) {
      const outcome = await train(method, epochs, 42 + round)
      found.push(outcome)
      const energy = outcome.kilowattHoursPerEpoch
      say(
        `${method.name}: ${energy === undefined ? 'energy unavailable' : `${energy.toExponential(2)} kWh/epoch (${outcome.provenance})`}, exact match ${(100 * outcome.exactMatch).toFixed(1)} %, ${outcome.secondsPerEpoch.toFixed(1)} s/epoch`,
      )
    }
  }
  const othersShare = watch.othersShare()
  return [...outcomes].flatMap(([method, found]) => rowsOf(method, found, othersShare))
}

const suite: Suite = {
  summary: 'kWh per epoch and exact match of full fine-tuning, LoRA and QLoRA of several ranks on the embedded task',
  options: {
    epochs: { meaning: 'epochs of each training', default: String(fineTuning.numTrainEpochs) },
    ranks: { meaning: 'ranks of the adapters', default: '4,16,64' },
    rounds: { meaning: 'trainings of each method, a seed each', default: '5' },
  },
  run: measure,
}

export default suite
