import { join } from 'node:path'
import { SwiftModel } from '../model/swift-model.ts'
import { TrainerArguments } from '../options/trainer-arguments.ts'
import { SftTrainer } from '../training/trainer.ts'
import { goldens, readGolden, rowBatches } from './golden-rows.ts'

/**
 * A run in a process of its own, for tests that kill it: continues whatever its folder holds, and prints each step.
 * Usage: `node --conditions=@swift/source train-child.ts <run folder> <steps>`
 */
const [outputDir = '', steps = '0'] = process.argv.slice(2)
using model = await SwiftModel.fromPretrained(join(goldens, 'models/qwen3'), {
  config: { type: 'lora', r: 4, loraAlpha: 8, loraDropout: 0.1 },
  computeDtype: 'float32',
})
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
})
trainer.on('step', ({ step, loss }) => process.stdout.write(`step ${step} ${loss}\n`))
await trainer.train()
process.stdout.write('done\n')
