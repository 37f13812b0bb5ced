import { SftTrainer, SwiftModel, TrainerArguments } from '@swift/core'
import { performance } from 'node:perf_hooks'
const model = await SwiftModel.fromPretrained('embedded/model', { loadIn4bit: true, config: { type: 'lora', r: 8, targetModules: 'all-linear' } })
const args = new TrainerArguments({ outputDir: '/tmp/core-scratch/second', numTrainEpochs: 3, learningRate: 2e-3 , loggingSteps: 100})
const trainer = new SftTrainer({ model, args, trainDataset: 'embedded/data/train.jsonl', maxLength: 256 })
let e: any, c: any
trainer.on('step', ({ step }) => { if (step === 10) { e = performance.eventLoopUtilization(); c = process.cpuUsage() } })
const r = await trainer.train()
console.log(performance.eventLoopUtilization(e), process.cpuUsage(c), r.durationMs)
model.dispose()
