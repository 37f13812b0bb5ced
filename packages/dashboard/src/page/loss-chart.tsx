import type { JSX } from 'preact'
import { useMemo, useState } from 'preact/hooks'
import uPlot from 'uplot'
import type { RunData } from '../run-data.ts'
import { formatCount, formatLoss, formatMeasure, formatNumber, unitOf } from '../view/format.ts'
import { hasAxis, lossCurve, type LossAxis, type LossCurve } from '../view/loss.ts'
import { axis, Chart, chartColours, themeColour } from './chart.tsx'
import { drawInterval } from './chart-lines.ts'
import { Card } from './card.tsx'
import { Provenance } from './provenance.tsx'
import { Segmented } from './segmented.tsx'

const height = 300

type Scale = 'linear' | 'log'

interface Line {
  readonly run: RunData
  readonly curve: LossCurve
  readonly colour: number
}

/** More lines than this are a tangle. */
export const maximumLines = 6

function xText(axisName: LossAxis, value: number): string {
  if (axisName === 'joules') return formatMeasure('joules', value)
  return `${axisName === 'steps' ? 'step ' : ''}${formatCount(value)}${axisName === 'tokens' ? ' tokens' : ''}`
}

function joined(lines: readonly Line[]): uPlot.AlignedData {
  return uPlot.join(
    lines.flatMap(({ curve }) => [
      [curve.x as number[], curve.y as (number | null)[]],
      [curve.evaluationX as number[], curve.evaluationY as number[]],
    ]),
  )
}

function chartOptions(
  lines: readonly Line[],
  axisName: LossAxis,
  scale: Scale,
  selectedId: string,
): Omit<uPlot.Options, 'width' | 'height'> {
  const colours = chartColours()
  const furthest = Math.max(1e-9, ...lines.flatMap(({ curve }) => [...curve.x, curve.interval?.high ?? 0]))
  const unit = axisName === 'joules' ? unitOf('joules', furthest) : { symbol: axisName, size: 1 }
  return {
    padding: [12, 16, 0, 4],
    cursor: { y: false, points: { size: 8 } },
    scales: {
      x: { time: false, range: () => [0, furthest * 1.01] },
      y: scale === 'log' ? { distr: 3 } : { range: (_, __, high) => [0, high * 1.06] },
    },
    axes: [
      axis(colours, {
        label: axisName === 'joules' ? `energy so far (${unit.symbol})` : axisName,
        values: (_, splits) => splits.map((value) => formatNumber(value / unit.size)),
      }),
      axis(colours, {
        size: 54,
        label: 'loss (nats per token)',
        values: (_, splits) => splits.map((value) => (value === null ? '' : formatNumber(value))),
      }),
    ],
    series: [
      {},
      ...lines.flatMap(({ run, colour }) => {
        const stroke = themeColour(`phases-${colour}`)
        return [
          { label: run.name, stroke, width: run.id === selectedId ? 2.75 : 1.75, points: { show: false } },
          {
            label: `${run.name}, evaluation`,
            stroke,
            paths: () => null,
            points: { show: true, size: 9, width: 2, fill: colours.surface, stroke },
          },
        ]
      }),
    ],
    hooks: {
      // Before the curves, so that they stay on top of it.
      drawAxes: [
        (chart) => {
          for (const { run, curve } of lines) {
            const y = curve.y.findLast((value) => value !== null)
            if (run.id !== selectedId || curve.interval === undefined || y === undefined || y === null) continue
            drawInterval(chart, {
              ...curve.interval,
              along: 'x',
              at: y,
              colour: colours.text,
              halo: colours.surface,
            })
          }
        },
      ],
    },
  }
}

function Reading({
  lines,
  data,
  index,
  axisName,
}: {
  readonly lines: readonly Line[]
  readonly data: uPlot.AlignedData
  readonly index: number | undefined
  readonly axisName: LossAxis
}): JSX.Element {
  const x = index === undefined ? undefined : data[0][index]
  const valueOf = (line: number): string => {
    const { curve } = lines[line] as Line
    if (index === undefined) {
      const last = curve.y.findLast((value) => value !== null)
      return last === undefined || last === null ? 'no loss' : `${formatLoss(last)} at the end`
    }
    const y = data[1 + 2 * line]?.[index]
    const evaluated = data[2 + 2 * line]?.[index]
    const train = typeof y === 'number' ? formatLoss(y) : '–'
    return typeof evaluated === 'number' ? `${train}, evaluation ${formatLoss(evaluated)}` : train
  }
  return (
    <ul class="readings" aria-live="polite">
      <li class="readings-x">{x === undefined ? 'last values' : `at ${xText(axisName, x)}`}</li>
      {lines.map(({ run, colour }, line) => (
        <li key={run.id}>
          <span class="swatch swatch-line" style={{ background: `var(--phases-${colour})` }} />
          <span>{run.name}</span>
          <span class="number">{valueOf(line)}</span>
        </li>
      ))}
    </ul>
  )
}

/** Loss against joules, steps or tokens; all chosen runs in one picture. */
export function LossChart({
  runs,
  selected,
  colourOf,
  isDark,
}: {
  /** Runs to draw, the selected one among them. */
  readonly runs: readonly RunData[]
  readonly selected: RunData
  readonly colourOf: (run: RunData) => number
  readonly isDark: boolean
}): JSX.Element {
  const axes = (['joules', 'steps', 'tokens'] as const).filter((name) => hasAxis(runs, name))
  const [chosen, setAxis] = useState<LossAxis>('joules')
  const axisName = axes.includes(chosen) ? chosen : (axes[0] ?? 'steps')
  const lines = useMemo<Line[]>(
    () => runs.map((run) => ({ run, curve: lossCurve(run, axisName), colour: colourOf(run) })),
    [runs, axisName],
  )
  const losses = lines.flatMap(({ curve }) => curve.y).filter((loss): loss is number => loss !== null && loss > 0)
  const spread = losses.length === 0 ? 1 : Math.max(...losses) / Math.min(...losses)
  const [scale, setScale] = useState<Scale>(spread > 50 ? 'log' : 'linear')
  const [index, setIndex] = useState<number | undefined>(undefined)
  const data = useMemo(() => joined(lines), [lines])
  const classes = [...new Set(lines.flatMap(({ curve }) => curve.classes))]
  const interval = lines.find(({ run }) => run.id === selected.id)?.curve.interval
  return (
    <Card
      id="loss"
      title={axisName === 'joules' ? 'Loss against joules' : `Loss against ${axisName}`}
      lead={
        axisName === 'joules' ? (
          <>
            Energy of all phases so far.{' '}
            {classes.map((name) => (
              <Provenance key={name} of={name} />
            ))}{' '}
            {interval === undefined
              ? undefined
              : `The bar at the end is the interval of ${selected.name}: ${formatMeasure('joules', interval.low)} to ${formatMeasure('joules', interval.high)}.`}
          </>
        ) : (
          'Training loss as a line, evaluations as circles.'
        )
      }
      controls={
        <>
          <Segmented
            label="Against what"
            name="loss-axis"
            value={axisName}
            segments={(['joules', 'steps', 'tokens'] as const).map((value) => ({
              value,
              label: value.charAt(0).toUpperCase() + value.slice(1),
              isDisabled: !axes.includes(value),
            }))}
            onChange={setAxis}
          />
          <Segmented
            label="Scale of the loss"
            name="loss-scale"
            value={scale}
            segments={[
              { value: 'linear', label: 'Linear' },
              { value: 'log', label: 'Log' },
            ]}
            onChange={setScale}
          />
        </>
      }
    >
      <Chart
        label={`Loss of ${runs.map(({ name }) => name).join(', ')} against ${axisName}`}
        height={height}
        data={data}
        options={() => chartOptions(lines, axisName, scale, selected.id)}
        resetKey={`${axisName} ${scale} ${isDark} ${selected.id} ${runs.map(({ id, log }) => `${id}:${log.length}`).join(' ')}`}
        onCursor={setIndex}
      />
      <Reading lines={lines} data={data} index={index} axisName={axisName} />
    </Card>
  )
}
