import type { JSX } from 'preact'
import type { Quantity, QuantitySplit, RunData } from '../run-data.ts'
import { columnMaximum, compareRun, difference, type ComparedRun } from '../view/compare.ts'
import { formatCount, formatDuration, formatLoss, formatNumber, type Measure } from '../view/format.ts'
import { Card } from './card.tsx'
import { Provenance, SplitValue } from './provenance.tsx'

interface SplitColumn {
  readonly name: string
  readonly measure: Measure
  readonly split: (compared: ComparedRun) => QuantitySplit
}

const splitColumns: readonly SplitColumn[] = [
  { name: 'Energy', measure: 'kilowattHours', split: ({ kilowattHours }) => kilowattHours },
  { name: 'Per token', measure: 'joulesPerToken', split: ({ joulesPerToken }) => joulesPerToken },
  { name: 'Carbon', measure: 'carbon', split: ({ carbon }) => carbon },
]

function Against({ own, other }: { readonly own: QuantitySplit; readonly other: QuantitySplit }): JSX.Element {
  const found = (['measured', 'modelled'] as const).flatMap((name) => {
    const made = difference(own[name] as Quantity | undefined, other[name] as Quantity | undefined)
    return made === undefined ? [] : [{ name, ...made }]
  })
  return (
    <>
      {found.map(({ name, fraction, overlaps }) => (
        <span class="against" key={name}>
          {fraction >= 0 ? '+' : '−'}
          {formatNumber(Math.abs(100 * fraction))} %{found.length > 1 ? ` ${name}` : ''}
          {overlaps ? ', intervals overlap' : ''}
        </span>
      ))}
    </>
  )
}

function PlainValue({ value }: { readonly value: string | undefined }): JSX.Element {
  return value === undefined ? <Provenance of="unavailable" /> : <span class="split-value">{value}</span>
}

/** All runs in a table; cards on a narrow screen. Differences are against the selected run. */
export function CompareRuns({
  runs,
  selected,
  isDrawn,
  colourOf,
  onSelect,
  onDraw,
}: {
  readonly runs: readonly RunData[]
  readonly selected: RunData
  readonly isDrawn: (run: RunData) => boolean
  readonly colourOf: (run: RunData) => number
  readonly onSelect: (run: RunData) => void
  readonly onDraw: (run: RunData, isDrawn: boolean) => void
}): JSX.Element {
  const compared = runs.map(compareRun)
  const base = compared.find(({ run }) => run.id === selected.id) as ComparedRun
  const maxima = splitColumns.map(({ split }) => columnMaximum(compared.map(split)))
  return (
    <Card
      id="compare"
      title="Runs side by side"
      lead={`Differences are against ${selected.name}. Bars end at the value, whiskers at the interval.`}
    >
      <div class="table-wrap">
        <table class="compare">
          <thead>
            <tr>
              <th scope="col">Run</th>
              {splitColumns.map(({ name }) => (
                <th scope="col" key={name}>
                  {name}
                </th>
              ))}
              <th scope="col">Loss</th>
              <th scope="col">Evaluation</th>
              <th scope="col">Speed</th>
              <th scope="col">Time</th>
            </tr>
          </thead>
          <tbody>
            {compared.map((line) => {
              const { run } = line
              const isSelected = run.id === selected.id
              return (
                <tr key={run.id} class={isSelected ? 'is-selected' : ''}>
                  <th scope="row">
                    <span class="run-cell">
                      <label class="check">
                        <input
                          type="checkbox"
                          checked={isDrawn(run)}
                          disabled={isSelected}
                          aria-label={`Draw the loss of ${run.name}`}
                          onChange={(event) => onDraw(run, event.currentTarget.checked)}
                        />
                        <span
                          class="swatch swatch-line"
                          style={{ background: isDrawn(run) ? `var(--phases-${colourOf(run)})` : 'transparent' }}
                        />
                      </label>
                      <button type="button" class="link" aria-current={isSelected} onClick={() => onSelect(run)}>
                        {run.name}
                      </button>
                    </span>
                  </th>
                  {splitColumns.map(({ name, measure, split }, column) => (
                    <td key={name} data-name={name}>
                      <SplitValue measure={measure} split={split(line)} maximum={maxima[column] ?? 0}>
                        {isSelected ? undefined : <Against own={split(line)} other={split(base)} />}
                      </SplitValue>
                    </td>
                  ))}
                  <td data-name="Loss">
                    <PlainValue value={line.loss === undefined ? undefined : formatLoss(line.loss)} />
                  </td>
                  <td data-name="Evaluation">
                    {line.bestEvaluationLoss === undefined ? (
                      <span class="muted">none</span>
                    ) : (
                      <PlainValue value={formatLoss(line.bestEvaluationLoss)} />
                    )}
                  </td>
                  <td data-name="Speed">
                    <PlainValue
                      value={
                        line.tokensPerSecond === undefined
                          ? undefined
                          : `${formatCount(Math.round(line.tokensPerSecond))} tokens/s`
                      }
                    />
                  </td>
                  <td data-name="Time">
                    <PlainValue value={line.seconds === undefined ? undefined : formatDuration(line.seconds)} />
                  </td>
                </tr>
              )
            })}
          </tbody>
        </table>
      </div>
    </Card>
  )
}
