import type { ComponentChildren, JSX } from 'preact'
import type { Quantity, QuantitySplit, RunData } from '../run-data.ts'
import { compareRun } from '../view/compare.ts'
import { formatCount, formatDuration, formatLoss, formatMeasure, formatNumber, type Measure } from '../view/format.ts'
import { Provenance, SplitValue } from './provenance.tsx'

function Tile({ name, children }: { readonly name: string; readonly children: ComponentChildren }): JSX.Element {
  return (
    <div class="tile">
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  )
}

function Plain({ value, detail }: { readonly value: string | undefined; readonly detail?: string }): JSX.Element {
  if (value === undefined) return <Provenance of="unavailable" />
  return (
    <>
      <span class="tile-value">{value}</span>
      {detail === undefined ? undefined : <span class="tile-detail">{detail}</span>}
    </>
  )
}

function SplitTile({
  name,
  measure,
  split,
  note,
}: {
  readonly name: string
  readonly measure: Measure
  readonly split: QuantitySplit
  readonly note?: string
}): JSX.Element {
  const classes = (['measured', 'modelled'] as const).filter((which) => split[which] !== undefined)
  if (classes.length !== 1) {
    return (
      <Tile name={name}>
        <SplitValue measure={measure} split={split} />
        {note === undefined ? undefined : <span class="tile-detail">{note}</span>}
      </Tile>
    )
  }
  const [which = 'modelled'] = classes
  const quantity = split[which] as Quantity
  return (
    <Tile name={name}>
      <span class="tile-value">{formatMeasure(measure, quantity.value)}</span>
      <SplitValueDetail measure={measure} quantity={quantity} which={which} />
      {note === undefined ? undefined : <span class="tile-detail">{note}</span>}
    </Tile>
  )
}

function SplitValueDetail({
  measure,
  quantity,
  which,
}: {
  readonly measure: Measure
  readonly quantity: Quantity
  readonly which: 'measured' | 'modelled'
}): JSX.Element {
  const size =
    quantity.value === 0 ? 0 : Math.max(quantity.high - quantity.value, quantity.value - quantity.low) / quantity.value
  return (
    <span class="tile-interval">
      <span class="scale" aria-hidden="true">
        <span
          class={`scale-range scale-${which}`}
          style={{ left: `${position(quantity, quantity.low)}%`, right: `${100 - position(quantity, quantity.high)}%` }}
        />
        <span class="scale-value" style={{ left: `${position(quantity, quantity.value)}%` }} />
      </span>
      <span class="tile-detail">
        {formatMeasure(measure, quantity.low)} to {formatMeasure(measure, quantity.high)}
      </span>
      <span class="tile-detail">
        <Provenance of={which} /> ±{formatNumber(100 * size)} %
      </span>
    </span>
  )
}

/** Place of a value on a scale from 0 to a little above the interval's high end. */
function position({ high }: Quantity, value: number): number {
  return high > 0 ? (92 * value) / high : 0
}

function kilowattHours({ energy }: RunData): string | undefined {
  const values = [energy?.phases.measured, energy?.phases.modelled].flatMap((part) => part?.value ?? [])
  if (values.length === 0) return undefined
  return `${values.map((value) => formatMeasure('kilowattHours', value / 3.6e6)).join(' + ')} in all phases`
}

/** The figures a reader wants first. */
export function Summary({ run }: { readonly run: RunData }): JSX.Element {
  const { kilowattHours: _, joulesPerToken, carbon, loss, bestEvaluationLoss, tokensPerSecond } = compareRun(run)
  const { energy, step, totalSteps, tokens, forecast } = run
  const note = kilowattHours(run)
  const factor = energy?.factor
  return (
    <dl class="tiles">
      <SplitTile
        name="Energy"
        measure="joules"
        split={energy?.phases ?? {}}
        {...(note === undefined ? {} : { note })}
      />
      <SplitTile
        name="Energy per token"
        measure="joulesPerToken"
        split={joulesPerToken}
        {...(tokens === undefined ? {} : { note: `${formatCount(tokens)} tokens` })}
      />
      <SplitTile
        name="Carbon"
        measure="carbon"
        split={carbon}
        {...(factor === undefined
          ? {}
          : {
              note: `${factor.zone}, ${formatNumber(factor.gramsPerKilowattHour)} g/kWh${energy !== undefined && energy.factors > 1 ? ' on average' : ''}, ${factor.validFor}`,
            })}
      />
      <Tile name="Loss">
        <Plain
          value={loss === undefined ? undefined : formatLoss(loss)}
          detail={
            bestEvaluationLoss === undefined ? 'last log line' : `best evaluation ${formatLoss(bestEvaluationLoss)}`
          }
        />
        {step === undefined ? undefined : (
          <span class="tile-interval">
            <span class="scale" aria-hidden="true">
              <span class="scale-progress" style={{ width: `${(100 * step) / Math.max(1, totalSteps ?? step)}%` }} />
            </span>
            <span class="tile-detail">
              step {formatCount(step)}
              {totalSteps === undefined ? '' : ` of ${formatCount(totalSteps)}`}
            </span>
            {tokensPerSecond === undefined ? undefined : (
              <span class="tile-detail">{formatCount(Math.round(tokensPerSecond))} tokens/s</span>
            )}
          </span>
        )}
      </Tile>
      <Tile name="Time">
        <Plain value={energy === undefined ? undefined : formatDuration(energy.durationSeconds)} detail="metered" />
        {run.trainingSeconds === undefined ? undefined : (
          <span class="tile-detail">{formatDuration(run.trainingSeconds)} of it in steps</span>
        )}
        {forecast?.seconds === undefined ? undefined : (
          <span class="tile-detail">{formatDuration(forecast.seconds)} forecast for the steps</span>
        )}
      </Tile>
    </dl>
  )
}
