/** Something the ledger wants known. Energy never stops a run silently and never goes wrong silently. */
export interface LedgerEvent {
  /** Stable code such as `ERR_ENERGY_SOURCE_LOST` or `WARN_ENERGY_QUARANTINED`. */
  readonly code: string
  /** `error` when numbers are missing or the journal is not written; else `warning`. */
  readonly severity: 'warning' | 'error'
  /** What happened, what was found, what to do. */
  readonly message: string
  /** Wall-clock time in milliseconds since the epoch. */
  readonly unixMs: number
}

/** One finding of a ledger check. */
export interface LedgerFinding {
  /** Stable code of the finding. */
  readonly code: string
  /** Which invariant or file property is broken, such as `I1`, `I3`, `chain`, `crc`. */
  readonly invariant: string
  /** File name of the segment. */
  readonly segment: string
  /** What was expected and what is there. */
  readonly message: string
}

/** Result of checking a ledger folder. */
export interface LedgerVerification {
  /** Whether there is no finding. */
  readonly ok: boolean
  /** Segments read. */
  readonly segments: number
  /** Commits checked. */
  readonly commits: number
  /** Samples checked. */
  readonly samples: number
  /** Bytes after the last whole frame of a segment: a write that a crash cut short. Harmless, and said. */
  readonly tornBytes: number
  /** What is wrong, in file order. */
  readonly findings: readonly LedgerFinding[]
}
