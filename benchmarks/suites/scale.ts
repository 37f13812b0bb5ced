import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { availableParallelism } from 'node:os'
import { designWatts } from '../harness/energy-model.ts'
import { describeCommit, describeMachine, repository } from '../harness/machine.ts'
import { randomModelFolder, randomTokens } from '../harness/random-model.ts'
import { makeRow, type Row } from '../harness/row.ts'
import { loraFlopsPerToken, shapes, type Shape, type ShapeName } from '../harness/shapes.ts'
import { summarise } from '../harness/statistics.ts'
import { choiceOption, numberOption, numbersOption, type Suite, type SuiteContext } from '../harness/suite.ts'
import { drawChart, type ChartPanel } from '../harness/svg-chart.ts'
import { readRun, startOwn, type Run } from '../harness/training-comparison.ts'
import type { TrainRequest } from '../harness/train-request.ts'

const ownScript = fileURLToPath(new URL('../children/train.ts', import.meta.url))

interface Point {
  readonly sequenceLength: number
  readonly sequences: number
  readonly rank: number
  readonly layers: number
  readonly threads: number
}

/** One extent that varies while the others stay. */
interface Axis {
  readonly name: string
  readonly title: string
  readonly points: readonly Point[]
  readonly xOf: (point: Point) => number
}

interface Measured {
  readonly point: Point
  readonly runs: Run[]
  /** Highest bytes of tensors, by the device's own account, and what the plan said. */
  readonly bytes: number
  readonly plannedBytes: number
}

function axesOf(options: SuiteContext['options'], shape: Shape): readonly Axis[] {
  const cores = availableParallelism()
  const base: Point = {
    sequenceLength: numberOption(options, 'base-seq'),
    sequences: 1,
    rank: 16,
    layers: shape.layers,
    threads: cores,
  }
  const vary = (name: keyof Point, title: string, values: readonly number[], from: Partial<Point> = {}): Axis => ({
    name: title,
    title,
    points: values.map((value) => ({ ...base, ...from, [name]: value })),
    xOf: (point) => point[name],
  })
  const threads = Array.from({ length: Math.floor(Math.log2(cores)) + 1 }, (_, index) => 2 ** index)
  const layers = [0.25, 0.5, 1].map((share) => Math.max(1, Math.round(share * shape.layers)))
  return [
    vary('sequenceLength', 'sequence length', numbersOption(options, 'seq')),
    vary('sequences', 'packed sequences of 256', numbersOption(options, 'batch'), { sequenceLength: 256 }),
    vary('rank', 'rank', numbersOption(options, 'rank')),
    vary('layers', 'layers', layers),
    vary('threads', 'threads', [...new Set([...threads, cores])]),
  ]
}

/** Tokens/s that the FLOP formula says from a measured point, threads counting in full. */
function byFormula(shape: Shape, from: Measured, to: Point): number {
  const cost = ({ sequenceLength, rank, layers, threads }: Point): number =>
    loraFlopsPerToken({ ...shape, layers }, sequenceLength, rank) / threads
  const rate = summarise(from.runs.map((run) => run.tokensPerSecond)).median
  return (rate * cost(from.point)) / cost(to)
}

/** Bytes on the straight line through the first and the last point of an axis. */
function byLine(axis: Axis, measured: readonly Measured[], at: number): number | undefined {
  const [first, last] = [measured[0], measured.at(-1)]
  if (first === undefined || last === undefined || first === last) return undefined
  const [from, to] = [axis.xOf(first.point), axis.xOf(last.point)]
  return first.bytes + ((last.bytes - first.bytes) * (at - from)) / (to - from)
}

async function measurePoint(point: Point, shapeName: ShapeName, context: SuiteContext): Promise<Measured> {
  const [rounds, warmup, steps] = ['rounds', 'warmup', 'steps'].map((name) => numberOption(context.options, name)) as [
    number,
    number,
    number,
  ]
  const shape = shapes[shapeName]
  const { sequenceLength, sequences, rank, layers, threads } = point
  const folder = await randomModelFolder(shapeName, layers === shape.layers ? undefined : layers)
  const tokensPerStep = sequenceLength * sequences
  const tokens = join(folder, `tokens-scale-${tokensPerStep}.json`)
  writeFileSync(tokens, JSON.stringify(randomTokens(tokensPerStep * (warmup + steps), shape.vocabulary, 42)))
  // One policy for all points: another one would bend every curve where it sets in.
  const request: TrainRequest = {
    folder,
    tokens,
    sequenceLength,
    sequences,
    warmup,
    steps,
    quantize: false,
    rank,
    recompute: 'none',
  }
  const runs: Run[] = []
  let [bytes, plannedBytes] = [0, 0]
  for (let round = 0; round < rounds; round++) {
    const child = startOwn(ownScript, request, context, { SWIFT_THREADS: String(threads) })
    const answer = await child.next()
    await child.close()
    runs.push(readRun(answer, child.startedAt, tokensPerStep, designWatts()))
    const plan = answer['plan'] as { readonly forecastBytes?: number; readonly actualBytes?: number } | undefined
    bytes = plan?.actualBytes ?? 0
    plannedBytes = plan?.forecastBytes ?? 0
  }
  return { point, runs, bytes, plannedBytes }
}

function percentOff(found: number, said: number): string {
  return `${(100 * (found / said - 1)).toFixed(0)} %`
}

async function measureAxis(
  axis: Axis,
  shapeName: ShapeName,
  context: SuiteContext,
): Promise<{ rows: Row[]; panels: ChartPanel[] }> {
  const { say, watch } = context
  const measured: Measured[] = []
  const shares: (number | undefined)[] = []
  for (const point of axis.points) {
    watch.restart()
    measured.push(await measurePoint(point, shapeName, context))
    shares.push(watch.othersShare())
    const [run] = measured.at(-1)?.runs ?? []
    say(
      `${axis.name} ${axis.xOf(point)}: ${run?.tokensPerSecond.toFixed(0)} tokens/s, ${((measured.at(-1)?.bytes ?? 0) / 2 ** 20).toFixed(0)} MiB`,
    )
  }
  const [first] = measured
  if (first === undefined) throw new RangeError(`no points on the axis ${axis.name}`)
  const formula = axis.points.map((point) => byFormula(shapes[shapeName], first, point))
  const rows = measured.flatMap(({ point, runs, bytes, plannedBytes }, index): Row[] => {
    const x = axis.xOf(point)
    const common = { othersShare: shares[index] }
    const rates = runs.map((run) => run.tokensPerSecond)
    const joules = runs.map((run) => run.joulesPerThousandTokens).filter((value) => value !== undefined)
    const said = formula[index] as number
    const line = byLine(axis, measured, x)
    const straight = line === undefined || line === 0 ? '' : `, ${percentOff(bytes, line)} off a straight line`
    return [
      makeRow({
        name: `${axis.name} ${x}: training`,
        unit: 'tokens/s',
        ours: rates,
        note: `formula ${said.toFixed(0)}, ${percentOff(summarise(rates).median, said)} off it`,
        ...common,
      }),
      makeRow({
        name: `${axis.name} ${x}: peak of tensors`,
        unit: 'MiB',
        ours: [bytes / 2 ** 20],
        lowerIsBetter: true,
        note: `plan ${(plannedBytes / 2 ** 20).toFixed(1)}${straight}`,
        ...common,
      }),
      makeRow({
        name: `${axis.name} ${x}: modelled energy`,
        unit: 'J/1000 tokens',
        ours: joules,
        lowerIsBetter: true,
        ...common,
      }),
    ]
  })
  const points = (of: (entry: Measured) => number): [number, number][] =>
    measured.map((entry) => [axis.xOf(entry.point), of(entry)])
  const panels: ChartPanel[] = [
    {
      title: `Speed by ${axis.title}`,
      xLabel: axis.title,
      yLabel: 'tokens/s; dashed: by FLOPs from the first point',
      series: [
        { name: 'measured', points: points(({ runs }) => summarise(runs.map((run) => run.tokensPerSecond)).median) },
        {
          name: 'formula',
          points: axis.points.map((point, index): [number, number] => [axis.xOf(point), formula[index] as number]),
          isFormula: true,
        },
      ],
    },
    {
      title: `Memory by ${axis.title}`,
      xLabel: axis.title,
      yLabel: 'peak of tensors, MiB; dashed: the plan',
      series: [
        { name: 'measured', points: points(({ bytes }) => bytes / 2 ** 20) },
        { name: 'plan', points: points(({ plannedBytes }) => plannedBytes / 2 ** 20), isFormula: true },
      ],
    },
  ]
  const energy = points(({ runs }) => summarise(runs.map((run) => run.joulesPerThousandTokens ?? 0)).median)
  if (energy.some(([, joules]) => joules > 0)) {
    panels.push({
      title: `Energy by ${axis.title}`,
      xLabel: axis.title,
      yLabel: 'J per 1,000 tokens, modelled from CPU time',
      series: [{ name: 'modelled', points: energy }],
    })
  }
  return { rows, panels }
}

async function measure(context: SuiteContext): Promise<readonly Row[]> {
  const { options, say } = context
  const shapeName = choiceOption<ShapeName>(options, 'shape', ['qwen3-0.6b', 'tiny'])
  const rows: Row[] = []
  const panels: ChartPanel[] = []
  for (const axis of axesOf(options, shapes[shapeName])) {
    const found = await measureAxis(axis, shapeName, context)
    rows.push(...found.rows)
    panels.push(...found.panels)
  }
  const path = options.get('chart')
  if (typeof path === 'string') {
    const { processor, threads, instructionSet } = describeMachine()
    const disturbed = rows.some((row) => row.disturbed) ? '; disturbed by other processes' : ''
    const caption = `LoRA on the ${shapeName} shape; ${processor}, ${threads} threads, ${instructionSet}; commit ${describeCommit().slice(0, 12)}${disturbed}`
    const target = join(repository, path)
    mkdirSync(dirname(target), { recursive: true })
    writeFileSync(target, drawChart(panels, caption))
    say(`drawn in ${path}`)
  }
  return rows
}

const suite: Suite = {
  summary:
    'how speed, memory and energy of LoRA training grow with length, batch, rank, layers and threads; table and chart',
  options: {
    shape: { meaning: 'qwen3-0.6b or tiny', default: 'tiny' },
    seq: { meaning: 'sequence lengths', default: '256,512,1024,2048,4096,8192' },
    batch: { meaning: 'packed sequences', default: '1,2,4,8' },
    rank: { meaning: 'ranks', default: '4,16,64' },
    'base-seq': { meaning: 'sequence length of the other axes', default: '512' },
    rounds: { meaning: 'processes per point', default: '3' },
    warmup: { meaning: 'steps before the measured ones', default: '1' },
    steps: { meaning: 'measured steps', default: '3' },
    built: { meaning: 'run the built packages instead of the sources' },
    chart: { meaning: 'SVG file, from the root of the repository', default: 'docs/images/scale.svg' },
  },
  run: measure,
}

export default suite
