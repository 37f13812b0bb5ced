import type { OptionDefinition } from '@swift/spec'
import { modelOptions, trainingOptions } from './option-tables.ts'
import type { SwiftModelOptions } from '../model/swift-model-options.ts'

const opaque = (description: string): OptionDefinition => ({ type: 'object', description })

/** Checks the options of `SwiftModel.fromPretrained`: the shared table, and what only a program can give. */
export const swiftModelOptions: Readonly<
  Record<Exclude<keyof SwiftModelOptions, 'plugins' | 'onProgress'>, OptionDefinition>
> = {
  device: { ...(modelOptions['device'] as OptionDefinition), choices: ['cpu', 'oracle', 'meta'] },
  dtype: modelOptions['dtype'] as OptionDefinition,
  computeDtype: modelOptions['computeDtype'] as OptionDefinition,
  loadIn4bit: modelOptions['loadIn4bit'] as OptionDefinition,
  bnb4bitQuantType: modelOptions['bnb4bitQuantType'] as OptionDefinition,
  bnb4bitUseDoubleQuant: modelOptions['bnb4bitUseDoubleQuant'] as OptionDefinition,
  adapter: modelOptions['adapter'] as OptionDefinition,
  config: opaque('What to train: { type, … }.'),
  seed: trainingOptions.seed,
  ledger: opaque('Ledger whose phase load the loading belongs to.'),
}
