import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { evaluateExactMatch, SftTrainer, SwiftModel, TrainerArguments } from '@swift/core'
import qlora from '@swift/plugin-qlora'
import { fineTuning } from './source/fine-tuning.ts'
import { machineOfRun } from './source/machine-of-run.ts'
import { paths } from './source/paths.ts'

/** What one fine-tune came to. */
export interface FineTuneScore {
  readonly seed: number
  /** Fraction of held-out rows answered exactly by the base model. */
  readonly before: number
  /** The same after training. */
  readonly after: number
  readonly steps: number
  readonly tokens: number
  readonly trainSeconds: number
  readonly finalLoss: number | undefined
  /** A few held-out rows with both answers. */
  readonly samples: readonly {
    readonly question: string
    readonly expected: string
    readonly before: string
    readonly after: string
  }[]
}

/** Fine-tunes the embedded model with QLoRA on the embedded dataset and asks it the held-out rows before and after. */
export async function fineTune(seed: number, onStep?: (line: string) => void): Promise<FineTuneScore> {
  const {
    numTrainEpochs,
    learningRate,
    warmupRatio,
    weightDecay,
    loraRank,
    loraAlpha,
    loraDropout,
    maxLength,
    rowsPerStep,
  } = fineTuning
  const runFolder = await mkdtemp(join(tmpdir(), 'swift-embedded-check-'))
  try {
    using model = await SwiftModel.fromPretrained(paths.model, {
      plugins: [qlora],
      config: { type: 'qlora', r: loraRank, loraAlpha, loraDropout, targetModules: 'all-linear' },
      seed,
    })
    const before = await evaluateExactMatch(model, paths.heldOut, { maxNewTokens: 24 })
    const args = new TrainerArguments({
      outputDir: runFolder,
      numTrainEpochs,
      learningRate,
      warmupRatio,
      weightDecay,
      perDeviceTrainBatchSize: rowsPerStep,
      gradientAccumulationSteps: 1,
      seed,
    })
    const trainer = new SftTrainer({ model, args, trainDataset: paths.train, maxLength })
    trainer.on('log', ({ step, loss, tokenAccuracy }) =>
      onStep?.(`  step ${step}  loss ${loss.toFixed(4)}  accuracy ${tokenAccuracy.toFixed(3)}`),
    )
    const result = await trainer.train()
    const after = await evaluateExactMatch(model, paths.heldOut, { maxNewTokens: 24 })
    return {
      seed,
      before: before.exactMatch,
      after: after.exactMatch,
      steps: result.step,
      tokens: result.tokens,
      trainSeconds: Number((result.durationMs / 1000).toFixed(1)),
      finalLoss: result.loss,
      samples: after.samples.map(({ prompt, expected, answer }, index) => ({
        question: prompt.at(-1)?.content ?? '',
        expected,
        before: before.samples[index]?.answer ?? '',
        after: answer,
      })),
    }
  } finally {
    await rm(runFolder, { recursive: true, force: true })
  }
}

/** Measures the claim of the README over five seeds and writes `scores.json`. */
export async function check(): Promise<readonly FineTuneScore[]> {
  const scores: FineTuneScore[] = []
  for (const seed of [42, 1, 2, 3, 4]) {
    const score = await fineTune(seed, (line) => console.log(line))
    console.log(
      `seed ${seed}: exact match ${(100 * score.before).toFixed(1)} % before, ${(100 * score.after).toFixed(1)} % after; ` +
        `${score.steps} steps, ${score.tokens} tokens, ${score.trainSeconds} s`,
    )
    for (const { question, expected, after } of score.samples.filter(
      (sample) => sample.after.trim() !== sample.expected,
    )) {
      console.log(`  wrong: ${question}  expected ${expected}, said ${after}`)
    }
    scores.push({ ...score, samples: score.samples.slice(0, 8) })
  }
  await writeFile(
    paths.scores,
    `${JSON.stringify({ recipe: fineTuning, machine: machineOfRun(), scores }, undefined, 2)}\n`,
  )
  return scores
}
