import { SwiftError } from '@swift/spec'
import { counterHash, shuffledOrder } from '../reading/counter-hash.ts'
import type { TokenizedDataset } from '../storage/tokenized-dataset.ts'
import { collate, type Batch } from './batch.ts'
import { packBestFitDecreasing } from './best-fit-decreasing.ts'

/** How sequences become batches. */
export interface BatchPlanOptions {
  /** Tokens per packed sequence of sequences (a bin). Required; at least the longest sequence. */
  readonly maxLength: number
  /** Put several sequences into one bin. Default true. */
  readonly packing?: boolean
  /** Bins (with packing) or sequences (without) per batch. Default 1. */
  readonly batchSize?: number
  /** Decides the order of every epoch. Default 42. */
  readonly seed?: number
  /** Another order in every epoch. Default true; without it, the order of the files. */
  readonly shuffle?: boolean
}

/** A place in the run over the data; plain JSON, for checkpoints. */
export interface DataPosition {
  /** From 0. */
  readonly epoch: number
  /** Batch within the epoch, from 0. */
  readonly batchIndex: number
}

/** What a batch holds, known before it is built. */
export interface BatchDescription {
  readonly tokens: number
  readonly trainedTokens: number
  /** As `Batch.trainedWeight`. */
  readonly trainedWeight: number
  readonly sequences: number
}

function invalidOption(asked: string, found: string, remedy: string): SwiftError {
  return new SwiftError({ code: 'ERR_BATCH_OPTIONS', asked, found, remedy })
}

/**
 * The batches of every epoch. Any batch of any epoch can be asked for at any time and is always the same, so a run
 * resumes exactly from a `DataPosition`.
 */
export class BatchPlan {
  readonly dataset: TokenizedDataset
  /** The same in every epoch. */
  readonly batchesPerEpoch: number
  /** Tokens of an epoch over the tokens its bins could hold; 1 without packing. */
  readonly packingEfficiency: number
  readonly #options: Required<BatchPlanOptions>
  #epoch: { readonly epoch: number; readonly batches: readonly (readonly number[])[] } | undefined

  constructor(
    dataset: TokenizedDataset,
    { maxLength, packing = true, batchSize = 1, seed = 42, shuffle = true }: BatchPlanOptions,
  ) {
    if (!Number.isInteger(batchSize) || batchSize < 1) {
      throw invalidOption('Building batches', `batchSize is ${batchSize}`, 'Use a whole number of at least 1.')
    }
    if (!Number.isInteger(maxLength) || maxLength < dataset.maxSequenceLength) {
      throw invalidOption(
        `Building batches of maxLength ${maxLength}`,
        `the longest sequence of the dataset has ${dataset.maxSequenceLength} tokens`,
        'Use the maxLength the dataset was prepared with.',
      )
    }
    this.dataset = dataset
    this.#options = { maxLength, packing, batchSize, seed, shuffle }
    const groups = this.#groups(0)
    this.batchesPerEpoch = Math.ceil(groups.length / batchSize)
    this.packingEfficiency = packing && groups.length > 0 ? dataset.tokenCount / (groups.length * maxLength) : 1
  }

  /** What the batch at a position holds. */
  describe(position: DataPosition): BatchDescription {
    const rows = this.#rows(position)
    const sum = (of: (row: number) => number): number => rows.reduce((total, row) => total + of(row), 0)
    return {
      tokens: sum((row) => this.dataset.length(row)),
      trainedTokens: sum((row) => this.dataset.trainedLength(row)),
      trainedWeight: sum((row) => this.dataset.trainedWeight(row)),
      sequences: rows.length,
    }
  }

  /** The batch at a position. */
  batch(position: DataPosition): Batch {
    return collate(this.dataset, this.#rows(position))
  }

  /** The position after this one; the last batch of an epoch is followed by the first of the next. */
  advance({ epoch, batchIndex }: DataPosition): DataPosition {
    return batchIndex + 1 < this.batchesPerEpoch
      ? { epoch, batchIndex: batchIndex + 1 }
      : { epoch: epoch + 1, batchIndex: 0 }
  }

  /** All batches of one epoch, from a batch on. */
  *epoch(epoch: number, fromBatch = 0): Generator<{ position: DataPosition; batch: Batch }> {
    for (let batchIndex = fromBatch; batchIndex < this.batchesPerEpoch; batchIndex += 1) {
      const position = { epoch, batchIndex }
      yield { position, batch: this.batch(position) }
    }
  }

  /** Batches without end, epoch after epoch, from a position on. */
  *iterate(
    from: DataPosition = { epoch: 0, batchIndex: 0 },
  ): Generator<{ position: DataPosition; batch: Batch }, never> {
    for (let position = from; ; position = this.advance(position)) {
      yield { position, batch: this.batch(position) }
    }
  }

  #rows({ epoch, batchIndex }: DataPosition): readonly number[] {
    if (this.#epoch?.epoch !== epoch) this.#epoch = { epoch, batches: this.#batches(epoch) }
    const rows = this.#epoch.batches[batchIndex]
    if (rows !== undefined) return rows
    throw new SwiftError({
      code: 'ERR_DATA_POSITION',
      asked: `Batch ${batchIndex} of epoch ${epoch}`,
      found: `an epoch has ${this.batchesPerEpoch} batches`,
      remedy: 'Resume with the dataset and options of the checkpoint.',
      details: { epoch, batchIndex },
    })
  }

  #batches(epoch: number): number[][] {
    const { batchSize } = this.#options
    const groups = this.#groups(epoch)
    return Array.from({ length: Math.ceil(groups.length / batchSize) }, (_, index) =>
      groups.slice(index * batchSize, (index + 1) * batchSize).flat(),
    )
  }

  /** Bins, or single sequences without packing, in the order of the epoch. */
  #groups(epoch: number): number[][] {
    const { maxLength, packing, seed, shuffle } = this.#options
    const { sequenceCount } = this.dataset
    const rows = shuffle
      ? shuffledOrder(sequenceCount, seed, 2, epoch)
      : Int32Array.from({ length: sequenceCount }, (_, index) => index)
    if (!packing) return Array.from(rows, (row) => [row])
    const bins = packBestFitDecreasing(rows, (row) => this.dataset.length(row), maxLength)
    if (!shuffle) return bins
    // Packing leaves the fullest bins first; an epoch must not begin with its longest sequences.
    const order = shuffledOrder(bins.length, seed, 3, epoch, counterHash(seed))
    return Array.from(order, (bin) => bins[bin] ?? [])
  }
}

/** Plans the batches of a dataset. @throws SwiftError `ERR_BATCH_OPTIONS`. */
export function createBatchPlan(dataset: TokenizedDataset, options: BatchPlanOptions): BatchPlan {
  return new BatchPlan(dataset, options)
}
