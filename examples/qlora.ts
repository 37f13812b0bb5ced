import { evaluateExactMatch, formatEnergySplit, SftTrainer, SwiftModel, TrainerArguments } from '@swift/core'
import qlora from '@swift/plugin-qlora'

using model = await SwiftModel.fromPretrained('embedded/model', {
  plugins: [qlora],
  config: { type: 'qlora', r: 16, loraAlpha: 32, loraDropout: 0, targetModules: 'all-linear' },
})
const args = new TrainerArguments({ learningRate: 3e-3, numTrainEpochs: 5, gradientAccumulationSteps: 1 })
const trainer = new SftTrainer({ model, args, trainDataset: 'embedded/data/train.jsonl', maxLength: 512 })
trainer.on('plan', ({ plan }) => console.log(plan.print()))
trainer.on('log', ({ step, loss, tokensPerSecond }) => console.log({ step, loss, tokensPerSecond }))
const { energy, lastCheckpoint } = await trainer.train()
console.log(await model.generate('What is the plural of tree?'))
console.log('exact match', (await evaluateExactMatch(model, 'embedded/data/heldout.jsonl')).exactMatch)
for (const row of energy?.rows ?? []) console.log(row.key, formatEnergySplit(row.energy), lastCheckpoint)
