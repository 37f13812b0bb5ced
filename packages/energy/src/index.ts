export { Ledger, type LiveEnergy } from './ledger.ts'
export type { LedgerOptions } from './ledger-options.ts'
export { Phase, type PhaseOptions, type PhaseOwner } from './phase.ts'
export { buildReport, type ReportOptions } from './report.ts'
export { StaticCarbonProvider } from './static-carbon-provider.ts'
export { addAmounts, addSplits } from './amounts.ts'
export {
  combineLabelled,
  formatCarbonSplit,
  formatEnergySplit,
  formatJoules,
  formatJoulesPerToken,
  formatKilowattHours,
  formatNumber,
  type FormatOptions,
  type LabelledEnergy,
  toJoules,
  toKilowattHours,
} from './format.ts'
export type {
  AccountKind,
  CarbonAmount,
  CarbonFactor,
  CarbonProvider,
  CarbonSplit,
  EnergyAmount,
  EnergyClass,
  EnergyReport,
  EnergyReportRow,
  EnergySourceDescriptor,
  EnergySplit,
  LedgerEntry,
  LedgerEvent,
  LedgerSnapshot,
  LedgerTotals,
  LedgerVerification,
  MarkEdge,
  MarkStream,
  SettledEnergy,
} from '@swift/spec'
export { sumEntries } from './amounts.ts'
export { uncertaintyLookup } from './read-state.ts'
export type { LedgerGain, LedgerSeries, LedgerSeriesPart, LedgerSeriesPoint, SeriesOptions } from './read-series.ts'
