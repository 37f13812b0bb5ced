export { Ledger, type LiveEnergy } from './ledger.ts'
export type { LedgerOptions } from './ledger-options.ts'
export type { RedfishOptions, SourceOptions } from './source-options.ts'
export { mergeReport } from './merge-report.ts'
export type { LedgerNote } from './ledger-notes.ts'
export { Phase, type PhaseOptions, type PhaseOwner } from './phase.ts'
export { buildReport, type EnergyPrice, type ReportOptions } from './report.ts'
export {
  accountKey,
  carbonOverTime,
  type CarbonOverTime,
  type CarbonStretch,
  stretchesOf,
} from './carbon/carbon-over-time.ts'
export { carbonZone, factorOrStatic } from './carbon/report-carbon.ts'
export { carbonProviderNames, carbonProviderOf, configuredCarbonProvider } from './carbon/carbon-provider-of.ts'
export type { CarbonRequestOptions } from './carbon/carbon-request.ts'
export { ElectricityMapsProvider, type ElectricityMapsOptions } from './carbon/electricity-maps-provider.ts'
export { StaticCarbonProvider } from './carbon/static-carbon-provider.ts'
export { UkCarbonProvider, type UkCarbonOptions } from './carbon/uk-carbon-provider.ts'
export { WattTimeProvider, type WattTimeOptions } from './carbon/watttime-provider.ts'
export { addAmounts, addSplits } from './amounts.ts'
export {
  type BudgetEvent,
  type BudgetFactors,
  type BudgetForecast,
  type BudgetObservation,
  EnergyBudget,
} from './budget/energy-budget.ts'
export { type BudgetLimit, type BudgetQuantity, parseBudget } from './budget/parse-budget.ts'
export {
  type Calibration,
  type CalibrationSample,
  fitCalibration,
  readCalibration,
  writeCalibration,
} from './calibration/calibration.ts'
export { WallMeterLog } from './calibration/wall-meter-log.ts'
export { type ComparedAmount, compareReports } from './compare-reports.ts'
export { type CodecarbonRun, codecarbonCsv, readCodecarbonCsv } from './export/codecarbon.ts'
export { exportCsv, exportJsonl } from './export/export-entries.ts'
export { type OpenTelemetryOptions, publishOpenTelemetry } from './export/open-telemetry.ts'
export { PrometheusEndpoint, prometheusText } from './export/prometheus.ts'
export { sciMarkdown, type SciReport, sciReport, type SciScore } from './export/sci-report.ts'
export { describeSources, type SourceFinding, sourceHints } from './describe-sources.ts'
export {
  RequestMeter,
  type RequestClassReport,
  type RequestMeterOptions,
  type RequestMeterReport,
} from './inference/request-meter.ts'
export { RequestLedger, type RequestEnergy, type RequestReport, type RequestStep } from './inference/request-ledger.ts'
export {
  type FittedRequestWeights,
  fitRequestWeights,
  type RequestWeights,
  type RequestWork,
} from './inference/request-weights.ts'
export { type SegmentHeader, segmentHeaders } from './segment-header.ts'
export { CarbonGate, type CarbonGateEvent, type CarbonGateOptions } from './schedule/carbon-gate.ts'
export { chooseStart, describeWindow, requireForecast } from './schedule/choose-start.ts'
export { type ChosenWindow, chooseWindow, type WindowRequest } from './schedule/choose-window.ts'
export { parseDeadline, parseDuration } from './schedule/parse-times.ts'
export { type ScheduleClock, systemClock } from './schedule/schedule-clock.ts'
export { type ScheduleOptionName, scheduleOptions } from './schedule/schedule-options.ts'
export { CpuFrequencyControl } from './tuning/cpu-frequency-control.ts'
export { NvidiaControl } from './tuning/nvidia-control.ts'
export { PowercapControl } from './tuning/powercap-control.ts'
export { parsePowerLimits, type PowerLimit } from './tuning/parse-power-limits.ts'
export { PowerLimits, type PowerNote } from './tuning/power-limits.ts'
export type { PowerControl, PowerSetting } from './tuning/power-control.ts'
export { PowerTuning, type PowerTuningOptions, type RestoredSetting } from './tuning/power-tuning.ts'
export { type RobustLine, robustLine } from './statistics/robust-line.ts'
export {
  combineLabelled,
  formatCarbonSplit,
  formatDerivedSplit,
  formatEnergySplit,
  formatExactJoules,
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
  AppliedCalibration,
  CarbonAmount,
  CarbonFactor,
  CarbonForecastPoint,
  CarbonProvider,
  CarbonSplit,
  DerivedAmount,
  DerivedSplit,
  EmbodiedCarbon,
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
