import { join } from 'node:path'
import { createBatchPlan, prepareDataset, type DatasetReport, type TokenizedDataset } from '@swift/data'
import { SwiftError } from '@swift/spec'
import type { NoteEvent, ProgressEvent } from '../events/training-event.ts'
import type { SwiftModel } from '../model/swift-model.ts'
import type { DataOptions } from '../options/data-options.ts'
import { dataOptions } from '../options/option-tables.ts'
import { parseOptions } from '../options/parse-options.ts'
import type { TrainerArguments } from '../options/trainer-arguments.ts'
import { pluginRegistry } from '../plugins/plugin-registry.ts'
import { batchesOfPlan, type BatchSource } from './batch-source.ts'

/** What a trainer takes as data: sources to read, tokenised sequences, or batches. */
export type TrainingData = string | readonly string[] | TokenizedDataset | BatchSource

/** What a run reads. */
export interface PreparedBatches {
  /** Batches to train on. */
  readonly train: BatchSource
  /** Batches to evaluate on. */
  readonly evaluation: BatchSource | undefined
  /** What became of the rows; undefined when the data came tokenised. */
  readonly report: DatasetReport | undefined
}

/** What preparing needs. */
export interface PrepareRequest {
  /** Model whose tokenizer and template are used. */
  readonly model: SwiftModel
  /** Arguments of the run. */
  readonly args: TrainerArguments
  /** `chat` for sft, `pretrain` for pre-training. */
  readonly purpose: 'chat' | 'pretrain'
  /** Training data. */
  readonly trainDataset: TrainingData
  /** Evaluation data. */
  readonly evalDataset: TrainingData | undefined
  /** How rows become batches. */
  readonly options: DataOptions
  /** Rejected rows are written here. */
  readonly runFolder: string
  /** Ends the reading. */
  readonly signal: AbortSignal | undefined
  /** Hears of progress and notes. */
  readonly emit: (event: NoteEvent | ProgressEvent) => void
}

/** Longest sequence when nothing is said. */
const defaultMaxLength = 2048

const lossStrategies = { default: 'assistant', last_round: 'last', all: 'all' } as const

function isText(data: TrainingData): data is string | readonly string[] {
  return typeof data === 'string' || Array.isArray(data)
}

/** Reads, tokenises and packs the data of a run. @throws the coded errors of `@swift/data` */
export async function prepareBatches(request: PrepareRequest): Promise<PreparedBatches> {
  const { trainDataset, evalDataset, model, args } = request
  const options = parseOptions('The dataset', dataOptions, { ...request.options }) as DataOptions
  const maxLength = options.maxLength ?? Math.min(defaultMaxLength, model.network.config.maxPositionEmbeddings)
  const planOf = (data: TokenizedDataset, shuffle: boolean): BatchSource => {
    const packing = options.packing ?? true
    const batchSize = args.perDeviceTrainBatchSize
    const longest = Math.max(maxLength, data.maxSequenceLength)
    const chosen = { maxLength: longest, packing, batchSize, seed: args.seed, shuffle }
    return batchesOfPlan(createBatchPlan(data, chosen), chosen)
  }
  const sourceOf = (data: TokenizedDataset | BatchSource, shuffle: boolean): BatchSource =>
    'batchesPerEpoch' in data ? data : planOf(data, shuffle)
  if (!isText(trainDataset)) {
    if (evalDataset !== undefined && isText(evalDataset)) throw mixedData()
    const evaluation = evalDataset === undefined ? undefined : sourceOf(evalDataset, false)
    return { train: sourceOf(trainDataset, true), evaluation, report: undefined }
  }
  if (evalDataset !== undefined && !isText(evalDataset)) throw mixedData()
  const prepared = await read(request, options, maxLength, trainDataset, evalDataset)
  const evaluation = prepared.evaluation === undefined ? undefined : planOf(prepared.evaluation, false)
  return { train: planOf(prepared.train, true), evaluation, report: prepared.report }
}

function list(data: string | readonly string[]): string[] {
  return typeof data === 'string' ? [data] : [...data]
}

async function read(
  { model, args, purpose, runFolder, signal, emit }: PrepareRequest,
  options: DataOptions,
  maxLength: number,
  sources: string | readonly string[],
  evaluation: string | readonly string[] | undefined,
): ReturnType<typeof prepareDataset> {
  return prepareDataset({
    sources: list(sources),
    ...(evaluation === undefined ? {} : { evaluationSources: list(evaluation) }),
    purpose,
    tokenizer: model.tokenizer,
    ...(purpose === 'chat' ? { chatTemplate: model.chatTemplate } : {}),
    chatTemplateVariables: options.chatTemplateKwargs ?? {},
    maxLength,
    lossStrategy: lossStrategies[options.lossScale ?? (purpose === 'chat' ? 'default' : 'all')],
    truncation: options.truncationStrategy ?? (purpose === 'chat' ? 'delete' : 'split'),
    columns: { ...options.columns },
    splitDatasetRatio: options.splitDatasetRatio ?? 0,
    seed: args.seed,
    maxRejectedFraction: options.maxRejectedFraction ?? 0.01,
    cacheFolder: join(runFolder, 'tokens'),
    runFolder,
    readers: [...pluginRegistry().datasetReaders()],
    ...(signal === undefined ? {} : { signal }),
    onProgress: ({ rows, tokens }) => emit({ type: 'progress', phase: 'tokenise', rows, tokens }),
    onNote: ({ code, message }) => emit({ type: 'note', code, message }),
  })
}

function mixedData(): SwiftError {
  return new SwiftError({
    code: 'ERR_OPTION_INVALID',
    asked: 'A trainer with a training set and an evaluation set',
    found: 'one of them is file names and the other is tokenised already',
    remedy: 'Give both in the same form',
  })
}
