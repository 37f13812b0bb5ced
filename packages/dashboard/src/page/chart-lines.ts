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

/** Draws an interval along x at one height: a bar with end caps. */
export function drawInterval(
  chart: uPlot,
  interval: { readonly low: number; readonly high: number; readonly y: number; readonly colour: string },
): void {
  const { ctx, bbox } = chart
  const ratio = devicePixelRatio
  const low = Math.max(bbox.left, chart.valToPos(interval.low, 'x', true))
  const high = Math.min(bbox.left + bbox.width, chart.valToPos(interval.high, 'x', true))
  const y = chart.valToPos(interval.y, 'y', true)
  const cap = 5 * ratio
  ctx.save()
  ctx.strokeStyle = interval.colour
  ctx.lineWidth = 1.5 * ratio
  ctx.beginPath()
  ctx.moveTo(low, y)
  ctx.lineTo(high, y)
  for (const x of [low, high]) {
    ctx.moveTo(x, y - cap)
    ctx.lineTo(x, y + cap)
  }
  ctx.stroke()
  ctx.restore()
}
