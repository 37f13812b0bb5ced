import type { ChatTemplate, DatasetReader, Tokenizer } from '@swift/spec'
import type { LossStrategy } from '../encoding/loss-turns.ts'
import type { TruncationStrategy } from '../encoding/truncate.ts'
import type { RowFormatName } from '../formats/row-format.ts'
import type { RejectionReason } from '../row-problem.ts'
import type { TokenizedDataset } from '../storage/tokenized-dataset.ts'

/** Something worth knowing that stops nothing. */
export interface DatasetNote {
  /** Stable code. */
  readonly code:
    | 'NOTE_CACHE_REBUILT'
    | 'NOTE_CACHE_USED'
    | 'NOTE_ROWS_REJECTED'
    | 'NOTE_END_TOKEN_APPENDED'
    | 'NOTE_CACHE_NOT_WRITTEN'
  /** A sentence. */
  readonly message: string
}

/** What to read and how to make token sequences of it. */
export interface PrepareOptions {
  /** Files, folders or globs, each with an optional `#count`. */
  readonly sources: readonly string[]
  /** The same for evaluation. */
  readonly evaluationSources?: readonly string[]
  /** Fraction of the sequences kept for evaluation when there are no evaluation sources. Default 0. */
  readonly splitDatasetRatio?: number
  /** `chat` renders messages through the template; `pretrain` takes rows as documents. Default `chat`. */
  readonly purpose?: 'chat' | 'pretrain'
  /** Text to ids. */
  readonly tokenizer: Tokenizer
  /** Chats to text; needed for `chat`. */
  readonly chatTemplate?: ChatTemplate
  /** Variables of the template. */
  readonly chatTemplateVariables?: Readonly<Record<string, unknown>>
  /** Longest sequence in tokens. */
  readonly maxLength: number
  /** Which tokens are learned. Default `assistant`. */
  readonly lossStrategy?: LossStrategy
  /** What happens to longer rows. Default `delete` for chats, `split` for documents. */
  readonly truncation?: TruncationStrategy
  /** Shape of the rows. Default `auto`: each row is recognised. */
  readonly format?: RowFormatName | 'auto'
  /** Column of the file → standard column. */
  readonly columns?: Readonly<Record<string, string>>
  /** Decides samples and the split. Default 42. */
  readonly seed?: number
  /** Largest fraction of unusable rows. Default 0.01. */
  readonly maxRejectedFraction?: number
  /** Where tokens are kept between runs; absent: not kept. */
  readonly cacheFolder?: string
  /** Rejected rows are written here. */
  readonly runFolder?: string
  /** Readers that win over the built-in ones. */
  readonly readers?: readonly DatasetReader[]
  /** Ends the reading. */
  readonly signal?: AbortSignal
  /** Progress of tokenising. */
  readonly onProgress?: (progress: { readonly rows: number; readonly tokens: number }) => void
  /** Hears of notes. */
  readonly onNote?: (note: DatasetNote) => void
}

/** What became of the rows. */
export interface DatasetReport {
  /** Rows read. */
  readonly rowCount: number
  /** Rows that cannot be used. */
  readonly rejectedCount: number
  /** The same by reason. */
  readonly rejectedByReason: Partial<Record<RejectionReason, number>>
  /** Where they are listed. */
  readonly rejectedPath: string | undefined
  /** Whether the tokens came from the cache. */
  readonly fromCache: boolean
}

/** Token sequences ready for batches. */
export interface PreparedDataset {
  readonly train: TokenizedDataset
  readonly evaluation: TokenizedDataset | undefined
  readonly report: DatasetReport
}
