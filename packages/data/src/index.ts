export { ignoredLabel, type Batch } from './batching/batch.ts'
export {
  BatchPlan,
  createBatchPlan,
  type BatchDescription,
  type BatchPlanOptions,
  type DataPosition,
} from './batching/batch-plan.ts'
export type { LossStrategy } from './encoding/loss-turns.ts'
export type { TokenSequence } from './encoding/token-sequence.ts'
export type { TruncationStrategy } from './encoding/truncate.ts'
export type { RowFormat, RowFormatName } from './formats/row-format.ts'
export { detectRowFormat, fromRow, rowFormats, toRow } from './formats/row-formats.ts'
export { prepareDataset } from './prepare/prepare-dataset.ts'
export type { DatasetNote, DatasetReport, PreparedDataset, PrepareOptions } from './prepare/prepare-options.ts'
export { readRows, type ReadRowsOptions } from './prepare/read-rows.ts'
export {
  builtInReaders,
  parseSpecifier,
  resolveSource,
  type DatasetSource,
  type SourceFile,
} from './reading/dataset-source.ts'
export { countByReason, describeOrigin, type RejectedRow } from './rejected-rows.ts'
export type { RejectionReason } from './row-problem.ts'
export { TokenizedDataset } from './storage/tokenized-dataset.ts'
export { TokenStoreBuilder, type SequenceOrigin, type TokenStore } from './storage/token-store.ts'
