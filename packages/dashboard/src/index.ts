export { startDashboard, DashboardServer, isLoopback, type DashboardOptions } from './server/start-dashboard.ts'
export { exportDashboard, type Exported, type ExportOptions } from './export/export-dashboard.ts'
export { readDashboard } from './read/read-dashboard.ts'
export { readRun, type RunReference } from './read/read-run.ts'
export type { CarbonOptions } from './read/read-energy.ts'
export type {
  AccountEntry,
  DashboardData,
  EnergyGap,
  EnergySeries,
  EvaluationPoint,
  LogPoint,
  Quantity,
  QuantitySplit,
  RunBudget,
  RunData,
  RunEnergy,
  RunFact,
  RunForecast,
  RunProblem,
  RunState,
  SeriesBand,
} from './run-data.ts'
