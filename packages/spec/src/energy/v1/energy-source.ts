import type { EnergyProvenance } from './energy-amount.ts'

/** What a source reads. */
export type EnergySourceKind =
  | 'rapl_perf'
  | 'rapl_powercap'
  | 'rapl_mmio'
  | 'psys'
  | 'nvml_counter'
  | 'nvml_samples'
  | 'nvml_power'
  | 'amd_counter'
  | 'hwmon'
  | 'battery'
  | 'ipmi'
  | 'redfish'
  | 'meter'
  | 'wall_meter'
  | 'cpu_time_model'
  | 'memory_model'

/** What part of the machine a source covers: wall > platform > package > core and uncore; dram and gpu stand beside package. */
export type EnergyScope = 'wall' | 'platform' | 'package' | 'core' | 'uncore' | 'dram' | 'gpu' | 'module'

/** Why a source is, or is not, part of the total. */
export type EnergySourceState = 'included' | 'covered' | 'alias' | 'shown_only' | 'unavailable'

/** One physical or modelled source, as the ledger uses it. */
export interface EnergySourceDescriptor {
  /** Stable within a run, such as `rapl_powercap:intel-rapl:0` or `cpu_time_model`. */
  readonly id: string
  /** What is read. */
  readonly kind: EnergySourceKind
  /** Part of the machine it covers. */
  readonly scope: EnergyScope
  /** Human name, such as `package-0`. */
  readonly label: string
  /** Id of the source whose energy contains this one's. Children are never added to an included parent. */
  readonly parent: string | undefined
  /** How its numbers come to be. */
  readonly provenance: EnergyProvenance
  /** Whether it is part of the total. */
  readonly state: EnergySourceState
  /** Why it is in this state, and for `unavailable` what would make it readable. */
  readonly reason: string
  /** The model and its inputs, or the sensor and the path it is read from; citations included. */
  readonly method: string
  /** Half-width of the interval as a fraction of the value: 0.02 is 2 %. */
  readonly relativeUncertainty: number
  /** The counter wraps at this many nanojoules; `undefined` where it does not wrap or the modulus is unknown. */
  readonly modulusNanojoules: bigint | undefined
}

/** One reading of a cumulative energy source. */
export interface EnergyReading {
  /** Monotonic nanoseconds when the value was read. */
  readonly monotonicNanoseconds: bigint
  /** Cumulative nanojoules since the source was opened. */
  readonly cumulativeNanojoules: bigint
}

/** A source of energy readings brought by a plugin, such as a wall meter. */
export interface EnergySource {
  /** What the source is. */
  readonly descriptor: EnergySourceDescriptor
  /**
   * Read the source once.
   * @returns `undefined` when this reading failed: a failed read is no sample, never a zero
   */
  doRead(): Promise<EnergyReading | undefined>
  /** Release what the source holds open. */
  doClose(): Promise<void>
}
