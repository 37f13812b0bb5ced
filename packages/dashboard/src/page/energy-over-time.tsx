import type { EnergyClass } from '@swift/spec'
import type { JSX } from 'preact'
import { useMemo, useState } from 'preact/hooks'
import uPlot from 'uplot'
import type { EnergySeries, Quantity, RunData } from '../run-data.ts'
import { formatDuration, formatInterval, formatMeasure, formatNumber, formatPercent, unitOf } from '../view/format.ts'
import { makeStack, stackTops, type Stack, type StackLayer, type StackScope, type StackView } from '../view/stack.ts'
import { scopeInterval } from '../view/scope-interval.ts'
import { limitLines, type Limits } from '../view/limits.ts'
import { axis, Chart, chartColours, themeColour } from './chart.tsx'
import { drawInterval, drawLimits } from './chart-lines.ts'
import { Card } from './card.tsx'
import { Provenance } from './provenance.tsx'
import { Segmented } from './segmented.tsx'

const height = 320

/** Round steps of a time axis, in seconds. */
const timeSteps = [
  0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400,
]

/** The colour of a layer as a custom property of the theme. */
export function layerColour({ colour, kind }: Pick<StackLayer, 'colour' | 'kind'>): string {
  if (colour !== undefined) return `phases-${colour}`
  const order = ['idle', 'other_tenants', 'unattributed', 'rework', 'gap', 'overhead', 'phase']
  return `neutrals-${Math.min(5, Math.max(0, order.indexOf(kind)))}`
}

function timeLabel(seconds: number, step: number): string {
  if (step < 60) return `${formatNumber(seconds)} s`
  if (step < 3600) return `${formatNumber(seconds / 60)} min`
  return `${formatNumber(seconds / 3600)} h`
}

function chartOptions(
  stack: Stack,
  view: StackView,
  limits: Limits,
  interval: Quantity | undefined,
): Omit<uPlot.Options, 'width' | 'height'> {
  const colours = chartColours()
  const tops = stackTops(stack.layers)
  const highest = Math.max(
    1e-9,
    ...(tops.at(-1) ?? []).map((value) => value ?? 0),
    ...limits.shown.map(({ joules }) => joules),
    interval?.high ?? 0,
  )
  const measure = view === 'energy' ? 'joules' : 'watts'
  const unit = unitOf(measure, highest)
  return {
    padding: [12, 12, 0, 4],
    cursor: { y: false, points: { show: false } },
    scales: { x: { time: false }, y: { range: () => [0, highest * 1.06] } },
    axes: [
      axis(colours, {
        incrs: timeSteps,
        values: (_, splits, __, ___, step) => splits.map((at) => timeLabel(at, step)),
      }),
      axis(colours, {
        size: 54,
        label: view === 'energy' ? `energy so far (${unit.symbol})` : `power (${unit.symbol})`,
        values: (_, splits) => splits.map((value) => formatNumber(value / unit.size)),
      }),
    ],
    series: [
      {},
      ...stack.layers
        .map((layer) => ({
          label: layer.label,
          fill: themeColour(layerColour(layer)),
          stroke: colours.surface,
          width: 1,
          points: { show: false },
          ...(view === 'power' ? { paths: steppedPaths() } : {}),
        }))
        .toReversed(),
    ],
    hooks: {
      draw: [
        (chart) => {
          if (interval === undefined) return
          const at = stack.x.at(-1) ?? 0
          drawInterval(chart, { ...interval, along: 'y', at, colour: colours.text, halo: colours.surface })
        },
        (chart) =>
          drawLimits(
            chart,
            limits.shown.map(({ label, joules, kind }) => ({
              label,
              value: joules,
              colour: themeColour(kind === 'budget' ? 'danger' : 'text'),
              dash: kind === 'budget' ? [] : [6, 4],
            })),
            colours,
          ),
      ],
    },
  }
}

function Legend({
  stack,
  view,
  index,
}: {
  readonly stack: Stack
  readonly view: StackView
  readonly index: number | undefined
}): JSX.Element {
  const measure = view === 'energy' ? 'joules' : 'watts'
  const whole = stack.layers.reduce((sum, { joules }) => sum + joules, 0)
  const at = index === undefined ? undefined : stack.x[index]
  const sumAt = stack.layers.reduce((sum, { values }) => sum + (values[index ?? 0] ?? 0), 0)
  return (
    <table class="legend">
      <thead>
        <tr>
          <th scope="col">phase</th>
          <th scope="col" class="number">
            in all
          </th>
          <th scope="col" class="number">
            share
          </th>
          <th scope="col" class="number at" aria-live="polite">
            {at === undefined ? 'at cursor' : `at ${formatDuration(at)}`}
          </th>
        </tr>
      </thead>
      <tbody>
        {stack.layers.toReversed().map((layer) => (
          <tr key={layer.key}>
            <th scope="row">
              <span class="swatch" style={{ background: `var(--${layerColour(layer)})` }} />
              {layer.label}
            </th>
            <td class="number">{formatMeasure('joules', layer.joules)}</td>
            <td class="number">{whole > 0 ? formatPercent(layer.joules / whole) : '–'}</td>
            <td class="number at">{index === undefined ? '–' : formatMeasure(measure, layer.values[index] ?? 0)}</td>
          </tr>
        ))}
      </tbody>
      <tfoot>
        <tr>
          <th scope="row">sum</th>
          <td class="number">{formatMeasure('joules', whole)}</td>
          <td class="number">{formatPercent(1)}</td>
          <td class="number at">{index === undefined ? '–' : formatMeasure(measure, sumAt)}</td>
        </tr>
      </tfoot>
    </table>
  )
}

function steppedPaths(): uPlot.Series.PathBuilder {
  const stepped = uPlot.paths.stepped
  if (stepped === undefined) throw new TypeError('this build of uPlot has no stepped paths')
  return stepped({ align: 1 })
}

/** Energy of a run over time, stacked by phase; joules so far or watts. */
export function EnergyOverTime({
  run,
  series,
  isDark,
}: {
  readonly run: RunData
  readonly series: EnergySeries
  readonly isDark: boolean
}): JSX.Element {
  const [view, setView] = useState<StackView>('energy')
  const [scope, setScope] = useState<StackScope>('phases')
  const [only, setOnly] = useState<EnergyClass | 'both'>('both')
  const [index, setIndex] = useState<number | undefined>(undefined)
  const classes = useMemo(() => makeStack(series, 'machine', 'energy').classes, [series])
  const stack = useMemo(
    () => makeStack(series, scope, view, only === 'both' ? undefined : only),
    [series, scope, view, only],
  )
  const interval = useMemo(
    () =>
      view === 'power'
        ? undefined
        : scopeInterval(run.energy?.accounts ?? [], scope, only === 'both' ? undefined : only),
    [run, scope, view, only],
  )
  const limits = useMemo(() => limitLines(run, stack, view), [run, stack, view])
  const data = useMemo(
    () => [stack.x as number[], ...stackTops(stack.layers).toReversed()] as uPlot.AlignedData,
    [stack],
  )
  const shape = stack.layers.map(({ key }) => key).join(' ')
  return (
    <Card
      id="energy"
      title="Energy over time"
      lead={
        <>
          Stacked by phase{scope === 'own' ? ', without the idle power of the machine' : ''}.{' '}
          {stack.classes.map((name) => (
            <Provenance key={name} of={name} />
          ))}
          {stack.classes.length === 2 ? ' Heights add both classes.' : ''}
          {interval === undefined || interval.high <= 0
            ? ''
            : ` The bar at the end is the interval: ${formatInterval('joules', interval)}.`}
        </>
      }
      controls={
        <>
          <Segmented
            label="What is drawn"
            name="energy-view"
            value={view}
            segments={[
              { value: 'energy', label: 'Energy' },
              { value: 'power', label: 'Power' },
            ]}
            onChange={setView}
          />
          <Segmented
            label="Which accounts"
            name="energy-scope"
            value={scope}
            segments={[
              { value: 'phases', label: 'Phases' },
              { value: 'own', label: 'Without idle' },
              { value: 'machine', label: 'Machine' },
            ]}
            onChange={setScope}
          />
          {classes.length < 2 ? undefined : (
            <Segmented
              label="Which class of energy"
              name="energy-class"
              value={only}
              segments={[
                { value: 'both', label: 'Both' },
                { value: 'measured', label: 'Measured' },
                { value: 'modelled', label: 'Modelled' },
              ]}
              onChange={setOnly}
            />
          )}
        </>
      }
    >
      <div class="chart-with-legend">
        <Chart
          label={`Energy of ${run.name} over time, stacked by phase`}
          height={height}
          data={data}
          options={() => chartOptions(stack, view, limits, interval)}
          resetKey={`${run.id} ${view} ${scope} ${only} ${isDark} ${shape} ${JSON.stringify(limits)} ${stack.layers[0]?.joules ?? 0}`}
          onCursor={setIndex}
        />
        <Legend stack={stack} view={view} index={index} />
      </div>
      {limits.notes.map((note) => (
        <p class="note" key={note}>
          {note}
        </p>
      ))}
      {series.reworkedJoules > 0 ? (
        <p class="note">
          {formatMeasure('joules', series.reworkedJoules)} of it was lost by going back to a checkpoint and is booked as
          rework; it is drawn where it was spent.
        </p>
      ) : undefined}
    </Card>
  )
}
