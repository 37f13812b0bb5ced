/**
 * The quickstart: asks the embedded base model the held-out questions, fine-tunes it with QLoRA, asks again and shows
 * both answers. Further options go to `swift sft`. Exits with 1 when the scores are not what the README promises.
 */
import { existsSync } from 'node:fs'
import { join, relative } from 'node:path'
import { parseArgs } from 'node:util'
import { main } from '@swift/cli'
import {
  evaluateExactMatch,
  isRunFolderFree,
  listCheckpoints,
  SwiftModel,
  type ExactMatchResult,
  type SwiftModelOptions,
} from '@swift/core'
import qlora from '@swift/plugin-qlora'
import { fineTuning } from './source/fine-tuning.ts'
import { paths } from './source/paths.ts'

const promised = { before: 0.1, after: 0.9 }

const percent = (fraction: number): string => `${(100 * fraction).toFixed(1)} %`

async function ask(folder: string, options: SwiftModelOptions): Promise<ExactMatchResult> {
  using model = await SwiftModel.fromPretrained(folder, { plugins: [qlora], ...options })
  return await evaluateExactMatch(model, paths.heldOut, { maxNewTokens: 24 })
}

async function freeRunFolder(): Promise<string> {
  for (let number = 1; ; number += 1) {
    const folder = join('runs', number === 1 ? 'quickstart' : `quickstart-${number}`)
    if (await isRunFolderFree(folder)) return folder
  }
}

function showSamples(before: ExactMatchResult, after: ExactMatchResult, count: number): void {
  for (const [index, { prompt, expected, answer, isCorrect }] of after.samples.slice(0, count).entries()) {
    console.log(`  ${prompt.at(-1)?.content ?? ''}`)
    console.log(`    before  ${before.samples[index]?.answer.trim() ?? ''}`)
    console.log(`    after   ${answer.trim()}${isCorrect ? '' : `   (it is ${expected})`}`)
  }
}

// What this file decides, unless the caller says otherwise; the rest is left to `swift sft`.
const { values: given } = parseArgs({
  strict: false,
  allowPositionals: true,
  options: { 'output-dir': { type: 'string' } },
})
const outputDir = typeof given['output-dir'] === 'string' ? given['output-dir'] : await freeRunFolder()

console.log('Asking the base model, in 4 bits, the held-out questions …')
const before = await ask(paths.model, { loadIn4bit: true })
console.log(`exact match before: ${percent(before.exactMatch)} (${before.correct} of ${before.total})\n`)

const settings: Readonly<Record<string, string | number>> = {
  model: relative('.', paths.model),
  dataset: relative('.', paths.train),
  'output-dir': outputDir,
  'tuner-type': 'qlora',
  'lora-rank': fineTuning.loraRank,
  'lora-alpha': fineTuning.loraAlpha,
  'lora-dropout': fineTuning.loraDropout,
  'learning-rate': fineTuning.learningRate,
  'warmup-ratio': fineTuning.warmupRatio,
  'weight-decay': fineTuning.weightDecay,
  'max-length': fineTuning.maxLength,
  'per-device-train-batch-size': fineTuning.rowsPerStep,
  'gradient-accumulation-steps': 1,
  'num-train-epochs': fineTuning.numTrainEpochs,
}
const passedOn = process.argv.slice(2)
const isGiven = (name: string): boolean =>
  passedOn.some((word) => word === `--${name}` || word.startsWith(`--${name}=`))
const words = Object.entries(settings).flatMap(([name, value]) => (isGiven(name) ? [] : [`--${name}`, String(value)]))
const code = await main(['sft', ...words, ...passedOn])
if (code !== 0) process.exit(code)

const checkpoint = (await listCheckpoints(outputDir)).at(-1)?.path
if (checkpoint === undefined) throw new Error(`${outputDir} holds no checkpoint although the training ended well`)
// The checkpoint of a full fine-tune is a model of its own.
const after = existsSync(join(checkpoint, 'adapter_config.json'))
  ? await ask(paths.model, { loadIn4bit: true, adapter: checkpoint })
  : await ask(checkpoint, {})
console.log('\nHeld-out questions, before and after:')
showSamples(before, after, 6)
console.log(
  `\nexact match: ${percent(before.exactMatch)} before, ${percent(after.exactMatch)} after, on ${after.total} held-out rows`,
)
if (before.exactMatch >= promised.before || after.exactMatch <= promised.after) {
  console.error(
    `That is not below ${percent(promised.before)} before and above ${percent(promised.after)} after, as it should be.`,
  )
  process.exitCode = 1
}
