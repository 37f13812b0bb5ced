import { availableParallelism, cpus, release, totalmem, type as systemType } from 'node:os'
import { type EnergyReport, type EnergyScope, type LedgerTotals, SwiftError } from '@swift/spec'
import { csvText, parseCsv } from './csv.ts'

/** Columns of CodeCarbon 3.x, in its order. */
const columns = [
  'timestamp',
  'project_name',
  'run_id',
  'experiment_id',
  'duration',
  'emissions',
  'emissions_rate',
  'cpu_power',
  'gpu_power',
  'ram_power',
  'cpu_energy',
  'gpu_energy',
  'ram_energy',
  'energy_consumed',
  'water_consumed',
  'country_name',
  'country_iso_code',
  'region',
  'cloud_provider',
  'cloud_region',
  'os',
  'python_version',
  'codecarbon_version',
  'cpu_count',
  'cpu_model',
  'gpu_count',
  'gpu_model',
  'longitude',
  'latitude',
  'ram_total_size',
  'tracking_mode',
  'cpu_utilization_percent',
  'gpu_utilization_percent',
  'ram_utilization_percent',
  'ram_used_gb',
  'on_cloud',
  'pue',
  'wue',
] as const

type Column = (typeof columns)[number]

/** Which of CodeCarbon's three parts a source belongs to. A source of the whole machine belongs to none. */
const partOfScope: Readonly<Record<EnergyScope, 'cpu' | 'gpu' | 'ram' | undefined>> = {
  package: 'cpu',
  core: 'cpu',
  uncore: 'cpu',
  gpu: 'gpu',
  module: 'gpu',
  dram: 'ram',
  platform: undefined,
  wall: undefined,
}

/**
 * A run as a line of CodeCarbon's `emissions.csv`, for tools that read it. Measured energy only: a column whose part of
 * the machine was modelled or not read is empty, never a guess. PUE is not multiplied into energy; `emissions` holds it.
 * @param when end of the run
 */
export function codecarbonCsv(
  totals: LedgerTotals,
  report: EnergyReport,
  { project = 'swift', when = new Date() }: { readonly project?: string; readonly when?: Date } = {},
): string {
  const scopes = new Map(totals.sources.map(({ id, scope }) => [id, scope]))
  const parts = new Map<'cpu' | 'gpu' | 'ram', bigint>()
  for (const { source, energyClass, nanojoules } of totals.entries) {
    const part = partOfScope[scopes.get(source) ?? 'wall']
    if (energyClass === 'measured' && part !== undefined) parts.set(part, (parts.get(part) ?? 0n) + nanojoules)
  }
  const seconds = report.durationSeconds
  const kilowattHours = (nanojoules: bigint | undefined): number | undefined =>
    nanojoules === undefined ? undefined : Number(nanojoules) / 3.6e15
  const watts = (nanojoules: bigint | undefined): number | undefined =>
    nanojoules === undefined || !(seconds > 0) ? undefined : Number(nanojoules) / 1e9 / seconds
  const grams = report.machine.carbon.measured?.grams
  const emissions = grams === undefined ? undefined : grams / 1000
  const [processor] = cpus()
  const row: Partial<Record<Column, string | number | undefined>> = {
    timestamp: when.toISOString().slice(0, 19),
    project_name: project,
    run_id: totals.runId,
    duration: seconds,
    emissions,
    emissions_rate: emissions === undefined || !(seconds > 0) ? undefined : emissions / seconds,
    cpu_power: watts(parts.get('cpu')),
    gpu_power: watts(parts.get('gpu')),
    ram_power: watts(parts.get('ram')),
    cpu_energy: kilowattHours(parts.get('cpu')),
    gpu_energy: kilowattHours(parts.get('gpu')),
    ram_energy: kilowattHours(parts.get('ram')),
    energy_consumed: kilowattHours(totals.energy.measured?.nanojoules),
    country_iso_code: report.factor.zone.length === 3 ? report.factor.zone : undefined,
    os: `${systemType()}-${release()}`,
    cpu_count: availableParallelism(),
    cpu_model: processor?.model.trim(),
    ram_total_size: totalmem() / 2 ** 30,
    tracking_mode: 'machine',
    on_cloud: undefined,
    pue: report.powerUsageEffectiveness,
  }
  return csvText(columns, [columns.map((column) => row[column])])
}

/** One run of a CodeCarbon file. */
export interface CodecarbonRun {
  readonly runId: string
  readonly project: string
  readonly timestamp: string
  readonly durationSeconds: number
  /**
   * kWh as CodeCarbon had them: a mix of measured and modelled that the file does not tell apart. `undefined` where the
   * cell is empty, as in a file of ours where nothing was measured.
   */
  readonly energyKilowattHours: number | undefined
  readonly cpuKilowattHours: number | undefined
  readonly gpuKilowattHours: number | undefined
  readonly ramKilowattHours: number | undefined
  /** PUE is inside the energies above, unless this is 1. */
  readonly powerUsageEffectiveness: number
  /** `undefined` where the cell is empty. */
  readonly emissionsGrams: number | undefined
  readonly version: string
}

/**
 * Reads CodeCarbon's `emissions.csv` of any 2.x or 3.x, for comparing old runs with new ones. Its energies carry no
 * provenance, so they are not put on a ledger.
 * @throws `ERR_CODECARBON_FILE` naming the line
 */
export function readCodecarbonCsv(text: string, name = 'emissions.csv'): readonly CodecarbonRun[] {
  const [header = [], ...rows] = parseCsv(text).filter((row) => row.some((cell) => cell !== ''))
  const refuse = (found: string): SwiftError =>
    new SwiftError({
      code: 'ERR_CODECARBON_FILE',
      asked: `Reading ${name} of CodeCarbon`,
      found,
      remedy: 'Give an emissions.csv that CodeCarbon 2 or 3 wrote',
    })
  for (const column of ['timestamp', 'run_id', 'duration', 'emissions', 'energy_consumed']) {
    if (!header.includes(column)) throw refuse(`no column ${column}`)
  }
  return rows.map((row, index) => {
    const cell = (column: Column): string => row[header.indexOf(column)] ?? ''
    const optional = (column: Column): number | undefined => {
      const text = header.includes(column) ? cell(column) : ''
      return text === '' || !Number.isFinite(Number(text)) ? undefined : Number(text)
    }
    const number = (column: Column): number => {
      const value = optional(column)
      if (value === undefined || value < 0)
        throw refuse(`line ${index + 2}: ${column} is ${JSON.stringify(cell(column))}`)
      return value
    }
    return {
      runId: cell('run_id'),
      project: header.includes('project_name') ? cell('project_name') : '',
      timestamp: cell('timestamp'),
      durationSeconds: number('duration'),
      energyKilowattHours: cell('energy_consumed') === '' ? undefined : number('energy_consumed'),
      cpuKilowattHours: optional('cpu_energy'),
      gpuKilowattHours: optional('gpu_energy'),
      ramKilowattHours: optional('ram_energy'),
      powerUsageEffectiveness: optional('pue') ?? 1,
      emissionsGrams: cell('emissions') === '' ? undefined : number('emissions') * 1000,
      version: header.includes('codecarbon_version') ? cell('codecarbon_version') : '',
    }
  })
}
