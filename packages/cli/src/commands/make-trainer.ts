import {
  dataOptions,
  optionTables,
  PretrainTrainer,
  scheduleOptions,
  SftTrainer,
  TrainerArguments,
  trainingOptions,
  type DataOptions,
  type TrainerOptions,
} from '@swift/core'
import { SwiftError } from '@swift/spec'
import type { OptionGroups } from '../arguments/command.ts'
import { modelFromValues, tunerConfig } from './model-from-values.ts'

type Values = Readonly<Record<string, unknown>>

/** Options of everything that trains. */
export function trainingGroups(): Promise<OptionGroups> {
  const { model, tuner, data, training } = optionTables
  return Promise.resolve({ model, tuner, data, training, schedule: scheduleOptions })
}

function pick(values: Values, names: readonly string[]): Record<string, unknown> {
  return Object.fromEntries(names.filter((name) => values[name] !== undefined).map((name) => [name, values[name]]))
}

function datasetOf(values: Values): readonly string[] {
  const dataset = values['dataset']
  if (Array.isArray(dataset) && dataset.length > 0) return dataset as string[]
  throw new SwiftError({
    code: 'ERR_OPTION_REQUIRED',
    asked: 'A run without dataset',
    found: 'it is required',
    remedy: 'Write --dataset FILE.jsonl (or a folder or glob)',
  })
}

/** A trainer with its model. */
export interface TrainerWithModel {
  readonly trainer: SftTrainer | PretrainTrainer
  dispose(): Promise<void>
}

/** Builds the trainer that the shared options describe. */
export async function makeTrainer(values: Values, kind: 'sft' | 'pt', signal?: AbortSignal): Promise<TrainerWithModel> {
  const trainDataset = datasetOf(values)
  const args = new TrainerArguments(
    pick(values, Object.keys({ ...trainingOptions, ...scheduleOptions })) as TrainerOptions,
  )
  const model = await modelFromValues(values, { config: tunerConfig(values), seed: args.seed })
  const evaluation = values['valDataset']
  const init = {
    ...(pick(
      values,
      Object.keys(dataOptions).filter((name) => name !== 'dataset' && name !== 'valDataset'),
    ) as DataOptions),
    model,
    args,
    trainDataset,
    ...(Array.isArray(evaluation) && evaluation.length > 0 ? { evalDataset: evaluation as string[] } : {}),
    ...(signal === undefined ? {} : { signal }),
  }
  const trainer = kind === 'sft' ? new SftTrainer(init) : new PretrainTrainer(init)
  return {
    trainer,
    dispose: async () => {
      await model.device.flush().catch(() => undefined)
      model.dispose()
    },
  }
}
