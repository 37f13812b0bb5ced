/** How rows become batches; names, ranges and defaults are those of `optionTables.data`. */
export interface DataOptions {
  /** Fraction of the dataset kept for evaluation when there is no evaluation set. Default 0. */
  readonly splitDatasetRatio?: number
  /** Longest sequence in tokens, and the capacity of a packed row. Default: the smaller of 2048 and the model's. */
  readonly maxLength?: number
  /** What happens to longer rows. Default `delete` for sft, `split` for pre-training. */
  readonly truncationStrategy?: 'delete' | 'left' | 'right' | 'split'
  /** Which tokens are learned. Default `default` (assistant turns) for sft, `all` for pre-training. */
  readonly lossScale?: 'default' | 'last_round' | 'all'
  /** Lay several sequences into one row. Default true. */
  readonly packing?: boolean
  /** Column of the file → standard column. */
  readonly columns?: Readonly<Record<string, string>>
  /** Variables of the chat template. */
  readonly chatTemplateKwargs?: Readonly<Record<string, unknown>>
  /** Largest fraction of unusable rows before the run stops. Default 0.01. */
  readonly maxRejectedFraction?: number
}
