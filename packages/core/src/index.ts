export * from '@swift/spec'
export {
  combineLabelled,
  formatCarbonSplit,
  formatEnergySplit,
  formatJoules,
  formatJoulesPerToken,
  formatKilowattHours,
  formatNumber,
  Ledger,
  Phase,
  RequestMeter,
  scheduleOptions,
  StaticCarbonProvider,
  addSplits,
  toJoules,
} from '@swift/energy'
export type {
  LedgerOptions,
  LiveEnergy,
  PhaseOptions,
  PhaseOwner,
  ReportOptions,
  RequestClassReport,
  RequestMeterReport,
} from '@swift/energy'
export { describeCpu, device, opNames, type CpuDescription } from '@swift/tensor'
export { listCheckpoints, type CheckpointEntry } from './checkpoints/list-checkpoints.ts'
export {
  readTrainerState,
  type BestEvaluation,
  type OptimizerProgress,
  type RandomState,
  type TrainerState,
} from './checkpoints/trainer-state.ts'
export type * from './events/training-event.ts'
export {
  evaluateExactMatch,
  type ExactMatchOptions,
  type ExactMatchResult,
  type ExactMatchSample,
} from './model/evaluate-exact-match.ts'
export type { AttachedAdapters } from './model/attached-adapters.ts'
export type { GenerateOptions } from './model/generate.ts'
export { Generation } from './model/generation.ts'
export { SwiftModel } from './model/swift-model.ts'
export type { SwiftConfig, SwiftModelOptions } from './model/swift-model-options.ts'
export type { DataOptions } from './options/data-options.ts'
export type { RunGateOptions } from './energy/run-schedule.ts'
export type { GenerationOptions } from './options/generation-options.ts'
export { nearestName } from './options/nearest-name.ts'
export {
  dataOptions,
  generationOptions,
  modelOptions,
  optionTables,
  type OptionTables,
  trainingOptions,
  tunerOptions,
} from './options/option-tables.ts'
export { describeDomain, parseOptions, unknownOption, type OptionValues } from './options/parse-options.ts'
export { optionFlag, readOptionText } from './options/read-option-text.ts'
export type { ScheduleOptions } from './options/schedule-options.ts'
export { TrainerArguments } from './options/trainer-arguments.ts'
export type { ParallelSizes, TrainerOptions } from './options/trainer-options.ts'
export type { PlanComparison } from './planning/compare-plan.ts'
export { formatBytes, formatCount, formatDuration, formatFlops } from './planning/format-units.ts'
export type { MachineProbe } from './planning/machine-probe.ts'
export type { MemoryForecast, WorkForecast } from './planning/step-forecast.ts'
export {
  TrainingPlan,
  type ForecastByClass,
  type PowerForecast,
  type TrainingPlanFields,
} from './planning/training-plan.ts'
export { discoverPlugin } from './plugins/discover-plugin.ts'
export { PluginRegistry, pluginRegistry, registerPlugin, type CapabilityKind } from './plugins/plugin-registry.ts'
export { fixedBatches, type BatchSource } from './training/batch-source.ts'
export type { TrainingData } from './training/prepare-batches.ts'
export type { RunLength } from './training/run-length.ts'
export { learningRateAt, type Schedule, type ScheduleType } from './training/schedule.ts'
export type { StopReason, TrainResult } from './training/train-result.ts'
export type { Trainable } from './training/trainable.ts'
export { isRunFolderFree } from './training/run-folder.ts'
export { PretrainTrainer, SftTrainer, Trainer } from './training/trainer.ts'
export type { TrainerInit } from './training/trainer-init.ts'
