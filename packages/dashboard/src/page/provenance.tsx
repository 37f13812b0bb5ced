import type { EnergyClass } from '@swift/spec'
import type { ComponentChildren, JSX } from 'preact'
import type { Quantity, QuantitySplit } from '../run-data.ts'
import { formatInterval, formatMeasure, type Measure, unavailable } from '../view/format.ts'

const explanations: Readonly<Record<EnergyClass | 'unavailable', string>> = {
  measured: 'measured: read from a hardware counter',
  modelled: 'modelled: computed from something else, such as CPU time; see the sources',
  unavailable: 'unavailable: nothing was read; this is not zero',
}

/** The label that goes wherever a number goes. Shape and word tell it, colour only helps. */
export function Provenance({ of }: { readonly of: EnergyClass | 'unavailable' }): JSX.Element {
  return (
    <span class={`chip chip-${of}`} title={explanations[of]}>
      <span class="chip-mark" aria-hidden="true" />
      {of}
    </span>
  )
}

/** An interval as a bar with the value marked, against the highest end of its neighbours. */
export function IntervalBar({
  quantity,
  maximum,
  of,
}: {
  readonly quantity: Quantity
  readonly maximum: number
  readonly of: EnergyClass
}): JSX.Element {
  const percent = (value: number): string => `${maximum > 0 ? Math.min(100, (100 * value) / maximum) : 0}%`
  return (
    <span class={`interval interval-${of}`} aria-hidden="true">
      <span class="interval-bar" style={{ width: percent(quantity.value) }} />
      <span
        class="interval-whisker"
        style={{ left: percent(quantity.low), width: `calc(${percent(quantity.high)} - ${percent(quantity.low)})` }}
      />
    </span>
  )
}

/** A split as lines: value, interval, label; one line per class, never one sum. */
export function SplitValue({
  measure,
  split,
  maximum,
  children,
}: {
  readonly measure: Measure
  readonly split: QuantitySplit
  /** End of the scale of the bars; without it there are none. */
  readonly maximum?: number
  readonly children?: ComponentChildren
}): JSX.Element {
  const classes = (['measured', 'modelled'] as const).filter((name) => split[name] !== undefined)
  if (classes.length === 0) {
    return (
      <span class="split">
        <span class="split-line">
          <Provenance of="unavailable" />
          <span class="visually-hidden">{unavailable}</span>
        </span>
        {children}
      </span>
    )
  }
  return (
    <span class="split">
      {classes.map((name) => {
        const quantity = split[name] as Quantity
        return (
          <span class="split-line" key={name}>
            <span class="split-value">{formatMeasure(measure, quantity.value)}</span>
            <span class="split-interval">{formatInterval(measure, quantity)}</span>
            <Provenance of={name} />
            {maximum === undefined ? undefined : <IntervalBar quantity={quantity} maximum={maximum} of={name} />}
          </span>
        )
      })}
      {children}
    </span>
  )
}
