import type { Quantity, QuantitySplit } from '../run-data.ts'

/** A unit and how many base units one of it is. */
export interface Unit {
  readonly symbol: string
  readonly size: number
}

const threeDigits = new Intl.NumberFormat('en', { maximumSignificantDigits: 3, useGrouping: false })

/** Narrow no-break space: a number and its unit stay on one line. */
const space = '\u202F'

/** What stands where nothing is known. */
export const unavailable = 'unavailable'

/** Three significant digits, never in exponent form. */
export function formatNumber(value: number): string {
  return threeDigits.format(value)
}

function pick(units: readonly Unit[], value: number): Unit {
  const magnitude = Math.abs(value)
  return units.findLast(({ size }) => magnitude >= size) ?? (units[0] as Unit)
}

const energyUnits: readonly Unit[] = [
  { symbol: 'mJ', size: 1e-3 },
  { symbol: 'J', size: 1 },
  { symbol: 'kJ', size: 1e3 },
  { symbol: 'MJ', size: 1e6 },
  { symbol: 'GJ', size: 1e9 },
]
const carbonUnits: readonly Unit[] = [
  { symbol: 'mgCO2e', size: 1e-3 },
  { symbol: 'gCO2e', size: 1 },
  { symbol: 'kgCO2e', size: 1e3 },
  { symbol: 'tCO2e', size: 1e6 },
]
const kilowattHourUnits: readonly Unit[] = [
  { symbol: 'mWh', size: 1e-6 },
  { symbol: 'Wh', size: 1e-3 },
  { symbol: 'kWh', size: 1 },
]
const perTokenUnits: readonly Unit[] = [
  { symbol: 'µJ/token', size: 1e-6 },
  { symbol: 'mJ/token', size: 1e-3 },
  { symbol: 'J/token', size: 1 },
]
const powerUnits: readonly Unit[] = [
  { symbol: 'mW', size: 1e-3 },
  { symbol: 'W', size: 1 },
  { symbol: 'kW', size: 1e3 },
  { symbol: 'MW', size: 1e6 },
]

/** Kinds of quantity that the page shows. */
export type Measure = 'joules' | 'kilowattHours' | 'carbon' | 'joulesPerToken' | 'watts'

/** The unit in which a value of this size reads best. */
export function unitOf(measure: Measure, value: number): Unit {
  if (measure === 'kilowattHours') return pick(kilowattHourUnits, value)
  if (measure === 'carbon') return pick(carbonUnits, value)
  if (measure === 'joulesPerToken') return pick(perTokenUnits, value)
  if (measure === 'watts') return pick(powerUnits, value)
  return pick(energyUnits, value)
}

/** `229 J` */
export function formatMeasure(measure: Measure, value: number): string {
  const { symbol, size } = unitOf(measure, value)
  return `${formatNumber(value / size)}${space}${symbol}`
}

/** `115–345 J`, in the unit of the value itself. */
export function formatInterval(measure: Measure, { value, low, high }: Quantity): string {
  const { symbol, size } = unitOf(measure, value)
  return `${formatNumber(low / size)}–${formatNumber(high / size)}${space}${symbol}`
}

/** `229 J [115–345 J] modelled + 3 J [2.9–3.1 J] measured`; `unavailable` where there is nothing. */
export function formatSplit(measure: Measure, split: QuantitySplit): string {
  const parts = (['measured', 'modelled'] as const).flatMap((name) => {
    const quantity = split[name]
    if (quantity === undefined) return []
    return [`${formatMeasure(measure, quantity.value)} [${formatInterval(measure, quantity)}] ${name}`]
  })
  return parts.length === 0 ? unavailable : parts.join(' + ')
}

/** Every number of a split times a factor. */
export function scaleSplit({ measured, modelled }: QuantitySplit, factor: number): QuantitySplit {
  const scale = ({ value, low, high }: Quantity): Quantity => ({
    value: value * factor,
    low: low * factor,
    high: high * factor,
  })
  return {
    ...(measured === undefined ? {} : { measured: scale(measured) }),
    ...(modelled === undefined ? {} : { modelled: scale(modelled) }),
  }
}

/** Measured and modelled in one number, for lengths and areas only: whatever shows it also says which classes it holds. */
export function sumOfSplit({ measured, modelled }: QuantitySplit): number {
  return (measured?.value ?? 0) + (modelled?.value ?? 0)
}

/** `18.6 s`, `3 min 20 s`, `2 h 5 min`. */
export function formatDuration(seconds: number): string {
  if (seconds < 60) return `${formatNumber(seconds)}${space}s`
  const rounded = Math.round(seconds)
  if (rounded < 3600) return `${Math.floor(rounded / 60)}${space}min ${rounded % 60}${space}s`
  return `${Math.floor(rounded / 3600)}${space}h ${Math.floor((rounded % 3600) / 60)}${space}min`
}

/** `201,715` */
export function formatCount(value: number): string {
  return value.toLocaleString('en')
}

/** `4.2 %` */
export function formatPercent(fraction: number): string {
  return `${formatNumber(100 * fraction)}${space}%`
}

/** `0.0053`: four digits after the point, more for what is smaller. */
export function formatLoss(loss: number): string {
  return Math.abs(loss) >= 0.001 || loss === 0 ? loss.toFixed(4) : loss.toExponential(2)
}
