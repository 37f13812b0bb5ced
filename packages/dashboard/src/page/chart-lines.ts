import type uPlot from 'uplot'
import type { ChartColours } from './chart.tsx'

/** A horizontal line across a chart, with its name on it. */
export interface LimitLine {
  readonly label: string
  /** In units of the y scale. */
  readonly value: number
  readonly colour: string
  /** Lengths of dash and gap; none for a whole line. */
  readonly dash: readonly number[]
}

/** Draws lines over everything else, each with its name at the left end, above it. */
export function drawLimits(chart: uPlot, lines: readonly LimitLine[], colours: ChartColours): void {
  const { ctx, bbox } = chart
  const ratio = devicePixelRatio
  ctx.save()
  ctx.font = `600 ${12 * ratio}px ${colours.font}`
  ctx.textAlign = 'left'
  ctx.textBaseline = 'bottom'
  for (const { label, value, colour, dash } of lines) {
    const y = Math.round(chart.valToPos(value, 'y', true))
    if (y < bbox.top || y > bbox.top + bbox.height) continue
    ctx.beginPath()
    ctx.setLineDash(dash.map((length) => length * ratio))
    ctx.lineWidth = 2 * ratio
    ctx.strokeStyle = colour
    ctx.moveTo(bbox.left, y)
    ctx.lineTo(bbox.left + bbox.width, y)
    ctx.stroke()
    const left = bbox.left + 8 * ratio
    const width = ctx.measureText(label).width
    ctx.fillStyle = colours.surface
    ctx.fillRect(left - 3 * ratio, y - 19 * ratio, width + 6 * ratio, 17 * ratio)
    ctx.fillStyle = colour
    ctx.fillText(label, left, y - 4 * ratio)
  }
  ctx.restore()
}

/** An interval to draw: a bar with end caps along one scale, at one value of the other. */
export interface DrawnInterval {
  readonly along: 'x' | 'y'
  readonly low: number
  readonly high: number
  /** On the other scale. */
  readonly at: number
  readonly colour: string
  /** Drawn under the bar, so that it is seen on any fill. */
  readonly halo: string
}

/** Draws an interval over everything else. */
export function drawInterval(chart: uPlot, { along, low, high, at, colour, halo }: DrawnInterval): void {
  const { ctx } = chart
  const ratio = devicePixelRatio
  const other = along === 'x' ? 'y' : 'x'
  const ends = [low, high].map((value) => chart.valToPos(value, along, true))
  const across = chart.valToPos(at, other, true)
  const cap = 5 * ratio
  const point = (position: number, offset: number): [number, number] =>
    along === 'x' ? [position, across + offset] : [across + offset, position]
  ctx.save()
  ctx.beginPath()
  ctx.moveTo(...point(ends[0] ?? 0, 0))
  ctx.lineTo(...point(ends[1] ?? 0, 0))
  for (const end of ends) {
    ctx.moveTo(...point(end, -cap))
    ctx.lineTo(...point(end, cap))
  }
  for (const [stroke, width] of [
    [halo, 4.5],
    [colour, 1.75],
  ] as const) {
    ctx.strokeStyle = stroke
    ctx.lineWidth = width * ratio
    ctx.stroke()
  }
  ctx.restore()
}
