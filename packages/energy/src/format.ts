import type {
  CarbonAmount,
  CarbonSplit,
  DerivedAmount,
  DerivedSplit,
  EnergyAmount,
  EnergyClass,
  EnergySplit,
} from '@swift/spec'
import { addAmounts } from './amounts.ts'

/** How much of what is known a text shows. */
export interface FormatOptions {
  /** Show the interval, as `[low–high]`. Default true. */
  readonly interval?: boolean
}

/** Made at the first use: the first format of a process reads the tables of ICU, 20 ms. */
let number: Intl.NumberFormat | undefined

/** Three significant digits, never in exponent form. */
export function formatNumber(value: number): string {
  number ??= new Intl.NumberFormat('en', { maximumSignificantDigits: 3, useGrouping: false })
  return number.format(value)
}

/** Convert at the edge only: joules of an integer amount. */
export function toJoules(nanojoules: bigint): number {
  return Number(nanojoules) / 1e9
}

/** Kilowatt-hours of an integer amount. */
export function toKilowattHours(nanojoules: bigint): number {
  return Number(nanojoules) / 3.6e15
}

function withInterval(value: number, low: number, high: number, unit: string, options: FormatOptions): string {
  const text = `${formatNumber(value)} ${unit}`
  return options.interval === false ? text : `${text} [${formatNumber(low)}–${formatNumber(high)}]`
}

function formatAmount(
  amount: EnergyAmount,
  convert: (nanojoules: bigint) => number,
  unit: string,
  options: FormatOptions,
): string {
  return withInterval(
    convert(amount.nanojoules),
    convert(amount.lowNanojoules),
    convert(amount.highNanojoules),
    unit,
    options,
  )
}

/** `0.0123 kWh [0.0074–0.0172]` */
export function formatKilowattHours(amount: EnergyAmount, options: FormatOptions = {}): string {
  return formatAmount(amount, toKilowattHours, 'kWh', options)
}

/** `44.3 J [26.6–62]` */
export function formatJoules(amount: EnergyAmount, options: FormatOptions = {}): string {
  return formatAmount(amount, toJoules, 'J', options)
}

function joinClasses<T>(measured: T | undefined, modelled: T | undefined, format: (part: T) => string): string {
  const parts = []
  if (measured !== undefined) parts.push(`${format(measured)} measured`)
  if (modelled !== undefined) parts.push(`${format(modelled)} modelled`)
  return parts.length === 0 ? 'unavailable' : parts.join(' + ')
}

/**
 * Measured and modelled energy as two numbers, never one: `3.91 kWh measured + 0.42 kWh modelled`, or `unavailable`.
 * @param options `unit` is `kWh` (default) or `J`
 */
export function formatEnergySplit(
  split: EnergySplit,
  options: FormatOptions & { readonly unit?: 'kWh' | 'J' } = {},
): string {
  const format = options.unit === 'J' ? formatJoules : formatKilowattHours
  return joinClasses(split.measured, split.modelled, (amount) => format(amount, options))
}

/**
 * Energy per token: `0.021 J/token modelled [0.0126–0.0294]`.
 * @param tokens tokens the energy was spent on; 0 gives `unavailable`
 */
export function formatJoulesPerToken(split: EnergySplit, tokens: number, options: FormatOptions = {}): string {
  if (!(tokens > 0)) return 'unavailable'
  const perToken = (nanojoules: bigint) => toJoules(nanojoules) / tokens
  return joinClasses(split.measured, split.modelled, (amount) => formatAmount(amount, perToken, 'J/token', options))
}

const carbonUnits = [
  { name: 'kgCO2e', grams: 1000 },
  { name: 'gCO2e', grams: 1 },
  { name: 'mgCO2e', grams: 1e-3 },
  { name: 'µgCO2e', grams: 1e-6 },
] as const

/** Carbon of measured and of modelled energy, in the unit that suits the larger: `1.85 gCO2e [1.11–2.59] modelled`. */
export function formatCarbonSplit(split: CarbonSplit, options: FormatOptions = {}): string {
  const largest = Math.max(split.measured?.grams ?? 0, split.modelled?.grams ?? 0)
  const unit = largest > 0 ? (carbonUnits.find(({ grams }) => largest >= grams) ?? carbonUnits[3]) : carbonUnits[1]
  const format = ({ grams, lowGrams, highGrams }: CarbonAmount): string =>
    withInterval(grams / unit.grams, lowGrams / unit.grams, highGrams / unit.grams, unit.name, options)
  return joinClasses(split.measured, split.modelled, format)
}

/** Price or water of measured and of modelled energy: `0.0012 EUR measured [0.0011–0.0013]`. */
export function formatDerivedSplit(split: DerivedSplit, options: FormatOptions = {}): string {
  const format = ({ value, low, high }: DerivedAmount) => withInterval(value, low, high, split.unit, options)
  return joinClasses(split.measured, split.modelled, format)
}

/** Every nanojoule: `7.123456789 J measured + 0.5 J modelled`. */
export function formatExactJoules(split: EnergySplit): string {
  const format = ({ nanojoules }: EnergyAmount): string => {
    const digits = nanojoules.toString().padStart(10, '0')
    const fraction = digits.slice(-9).replace(/0+$/, '')
    return `${digits.slice(0, -9)}${fraction === '' ? '' : `.${fraction}`} J`
  }
  return joinClasses(split.measured, split.modelled, format)
}

/** One number out of a split, with the label that must go wherever the number goes. */
export interface LabelledEnergy {
  readonly amount: EnergyAmount
  readonly label: EnergyClass | 'measured + modelled'
}

/** Add measured and modelled energy and say so. `undefined` where neither is available. */
export function combineLabelled(split: EnergySplit): LabelledEnergy | undefined {
  const { measured, modelled } = split
  if (measured !== undefined && modelled !== undefined) {
    return { amount: addAmounts(measured, modelled), label: 'measured + modelled' }
  }
  if (measured !== undefined) return { amount: measured, label: 'measured' }
  return modelled === undefined ? undefined : { amount: modelled, label: 'modelled' }
}
