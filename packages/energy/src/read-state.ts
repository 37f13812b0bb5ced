import type {
  AccountKind,
  EnergySourceDescriptor,
  LedgerEntry,
  LedgerFit,
  LedgerGap,
  LedgerMergeNote,
  LedgerTotals,
} from '@swift/spec'
import { sumEntries } from './amounts.ts'

/** A source as the native meter writes it. */
export interface NativeSource extends Omit<
  EnergySourceDescriptor,
  'relativeUncertainty' | 'modulusNanojoules' | 'parent'
> {
  readonly parent: string | null
  readonly uncertaintyPermille: number
  readonly modulusNanojoules: string | null
}

interface NativeState {
  readonly runId: string
  readonly segment: number
  readonly sequence: number
  readonly chainHash: string
  readonly durationNanoseconds: string
  readonly sources: readonly NativeSource[]
  readonly entries: readonly {
    readonly source: string
    readonly account: string
    readonly nanojoules: string
    readonly below: string
    readonly above: string
  }[]
  readonly gaps: readonly { readonly source: string; readonly durationNanoseconds: string; readonly reason: string }[]
  readonly fits?: readonly LedgerFit[]
  /** Of a merge. */
  readonly notes?: readonly LedgerMergeNote[]
}

const accountKinds: readonly AccountKind[] = [
  'phase',
  'idle',
  'other_tenants',
  'unattributed',
  'gap',
  'rework',
  'overhead',
]

/** The descriptor of a source from its native form. */
export function toSource(native: NativeSource): EnergySourceDescriptor {
  const { uncertaintyPermille, modulusNanojoules, parent, ...rest } = native
  return {
    ...rest,
    parent: parent ?? undefined,
    relativeUncertainty: uncertaintyPermille / 1000,
    modulusNanojoules: modulusNanojoules === null ? undefined : BigInt(modulusNanojoules),
  }
}

/** `phase/train/forward` is kind `phase`, path `train/forward`; `overhead/ledger` has no path. */
export function parseAccount(account: string): { kind: AccountKind; path: string } {
  if (account === 'overhead/ledger') return { kind: 'overhead', path: '' }
  const slash = account.indexOf('/')
  const name = slash < 0 ? account : account.slice(0, slash)
  const kind = accountKinds.find((known) => known === name)
  if (kind === undefined) throw new TypeError(`the native meter named an account of unknown kind: ${account}`)
  return { kind, path: slash < 0 ? '' : account.slice(slash + 1) }
}

/** Totals from the JSON text the native meter gives. */
export function readState(json: string): LedgerTotals {
  const state = JSON.parse(json) as NativeState
  const sources = state.sources.map(toSource)
  const byId = new Map(sources.map((source) => [source.id, source]))
  const entries: LedgerEntry[] = state.entries.map((entry) => ({
    source: entry.source,
    energyClass: byId.get(entry.source)?.provenance === 'modelled' ? 'modelled' : 'measured',
    ...parseAccount(entry.account),
    nanojoules: BigInt(entry.nanojoules),
    belowNanojoules: BigInt(entry.below),
    aboveNanojoules: BigInt(entry.above),
  }))
  const gaps: LedgerGap[] = state.gaps.map((gap) => ({
    source: gap.source,
    durationNanoseconds: BigInt(gap.durationNanoseconds),
    reason: gap.reason,
  }))
  return {
    runId: state.runId,
    segment: state.segment,
    sequence: state.sequence,
    chainHash: state.chainHash,
    durationNanoseconds: BigInt(state.durationNanoseconds),
    sources,
    entries,
    gaps,
    fits: state.fits ?? [],
    mergeNotes: state.notes ?? [],
    energy: sumEntries(entries, uncertaintyLookup(sources)),
  }
}

/** Half-width of each source's interval, as a fraction. */
export function uncertaintyLookup(sources: readonly EnergySourceDescriptor[]): (source: string) => number {
  const byId = new Map(sources.map((source) => [source.id, source.relativeUncertainty]))
  return (source) => byId.get(source) ?? 0
}
