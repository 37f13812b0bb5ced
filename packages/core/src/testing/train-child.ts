import fs from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'
import { join } from 'node:path'
import { SwiftModel } from '../model/swift-model.ts'
import { TrainerArguments } from '../options/trainer-arguments.ts'
import { SftTrainer } from '../training/trainer.ts'
import { goldens, readGolden, rowBatches } from './golden-rows.ts'

/**
 * A run in a process of its own, for tests that kill it: continues whatever its folder holds, and prints each step.
 * After the steps of its life it says `waiting` and waits for its end: who kills it too late finds it no further. With
 * `hold` its first checkpoint is written and never put into its place: it says `holding` and waits likewise.
 * Usage: `node --conditions=@swift/source train-child.ts <run folder> <steps> [steps of this life] [hold]`
 */
const [outputDir = '', steps = '0', ofThisLife = steps, hold] = process.argv.slice(2)
/** Waits for the kill, or for the end of the process that would send it. */
const forEver = (): Promise<never> => new Promise(() => process.stdin.once('end', () => process.exit(1)).resume())
if (hold === 'hold') {
  const { rename } = fs
  fs.rename = (from, to) => {
    if (!String(from).includes('.incomplete-checkpoint-')) return rename(from, to)
    process.stdout.write('holding\n')
    return forEver()
  }
  syncBuiltinESMExports()
}
using model = await SwiftModel.fromPretrained(join(goldens, 'models/qwen3'), {
  config: { type: 'lora', r: 4, loraAlpha: 8, loraDropout: 0.1 },
  computeDtype: 'float32',
})
let left = Number(ofThisLife)
const trainer = new SftTrainer({
  model,
  args: new TrainerArguments({
    outputDir,
    maxSteps: Number(steps),
    gradientAccumulationSteps: 3,
    learningRate: 1e-3,
    warmupRatio: 0.1,
    saveSteps: 4,
    evalSteps: 10,
    loggingSteps: 1,
    resumeFromCheckpoint: 'auto',
  }),
  trainDataset: rowBatches(readGolden('lora-all-linear').rows),
  evalDataset: rowBatches(readGolden('lora-all-linear').rows.slice(0, 1), 'evaluation'),
  beforeStep: async () => {
    left -= 1
    if (left >= 0) return
    process.stdout.write('waiting\n')
    await forEver()
  },
})
trainer.on('step', ({ step, loss }) => process.stdout.write(`step ${step} ${loss}\n`))
await trainer.train()
process.stdout.write('done\n')
