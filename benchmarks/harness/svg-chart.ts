/** One line of a panel. */
export interface ChartSeries {
  readonly name: string
  readonly points: readonly (readonly [x: number, y: number])[]
  /** A formula's line is dashed and has no dots. */
  readonly isFormula?: boolean
}

/** One coordinate system. */
export interface ChartPanel {
  readonly title: string
  readonly xLabel: string
  readonly yLabel: string
  readonly series: readonly ChartSeries[]
}

const panelWidth = 320
const panelHeight = 220
const margin = { left: 58, right: 14, top: 34, bottom: 42 }
const colours = ['#1a6e5c', '#b4531f', '#2b5fa8', '#7a3f8f']

function escape(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}

function shortNumber(value: number): string {
  const [scaled, suffix] =
    Math.abs(value) >= 1e6 ? [value / 1e6, 'M'] : Math.abs(value) >= 1e4 ? [value / 1e3, 'k'] : [value, '']
  return `${Number(scaled.toPrecision(3))}${suffix}`
}

/** About four round steps from 0 to at least `greatest`: 1, 2 or 5 times a power of ten apart. */
export function roundTicks(greatest: number): readonly number[] {
  const rough = Math.max(greatest, Number.MIN_VALUE) / 4
  const power = 10 ** Math.floor(Math.log10(rough))
  const step = ([1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999) ?? 10) * power
  return Array.from({ length: Math.ceil((greatest / step) * 0.999) + 1 }, (_, index) => index * step)
}

function drawPanel(panel: ChartPanel, left: number, top: number): string {
  const xs = panel.series.flatMap(({ points }) => points.map(([x]) => x))
  const ys = panel.series.flatMap(({ points }) => points.map(([, y]) => y))
  const ticks = roundTicks(Math.max(...ys))
  const highest = ticks.at(-1) as number
  const [first, last] = [Math.min(...xs), Math.max(...xs)]
  const width = panelWidth - margin.left - margin.right
  const height = panelHeight - margin.top - margin.bottom
  // Extents double from point to point: a logarithmic axis spreads them evenly.
  const xOf = (x: number): number =>
    left + margin.left + (first === last ? width / 2 : (width * Math.log(x / first)) / Math.log(last / first))
  const yOf = (y: number): number => top + margin.top + height * (1 - y / highest)
  const parts = [
    `<text x="${left + margin.left}" y="${top + 16}" class="title">${escape(panel.title)}</text>`,
    `<text x="${left + margin.left + width / 2}" y="${top + panelHeight - 6}" class="label" text-anchor="middle">${escape(panel.xLabel)}</text>`,
    `<text x="${left + margin.left}" y="${top + 29}" class="label">${escape(panel.yLabel)}</text>`,
  ]
  for (const tick of ticks) {
    const y = yOf(tick).toFixed(1)
    parts.push(
      `<line x1="${left + margin.left}" x2="${left + margin.left + width}" y1="${y}" y2="${y}" class="grid"/>`,
      `<text x="${left + margin.left - 6}" y="${y}" dy="4" class="tick" text-anchor="end">${shortNumber(tick)}</text>`,
    )
  }
  for (const x of new Set(xs)) {
    parts.push(
      `<text x="${xOf(x).toFixed(1)}" y="${top + panelHeight - margin.bottom + 15}" class="tick" text-anchor="middle">${x}</text>`,
    )
  }
  panel.series.forEach(({ name, points, isFormula = false }, index) => {
    const colour = colours[index % colours.length] as string
    const path = points.map(([x, y]) => `${xOf(x).toFixed(1)},${yOf(y).toFixed(1)}`).join(' ')
    const dash = isFormula ? ' stroke-dasharray="5 4"' : ''
    parts.push(
      `<polyline points="${path}" fill="none" stroke="${colour}" stroke-width="2"${dash}><title>${escape(name)}</title></polyline>`,
    )
    if (isFormula) return
    for (const [x, y] of points) {
      parts.push(
        `<circle cx="${xOf(x).toFixed(1)}" cy="${yOf(y).toFixed(1)}" r="3" fill="${colour}"><title>${escape(`${name}: ${shortNumber(x)}, ${shortNumber(y)}`)}</title></circle>`,
      )
    }
  })
  return parts.join('\n')
}

/**
 * Small panels in a grid, as an SVG file: x on a logarithmic axis, y from 0, measured lines with dots and formulas dashed.
 * @param caption - one line below
 * @throws RangeError for a panel without points
 */
export function drawChart(panels: readonly ChartPanel[], caption: string, columns = 3): string {
  const empty = panels.find(({ series }) => series.every(({ points }) => points.length === 0))
  if (panels.length === 0 || empty !== undefined)
    throw new RangeError(`nothing to draw in ${empty?.title ?? 'the chart'}`)
  const width = panelWidth * Math.min(columns, panels.length)
  const height = panelHeight * Math.ceil(panels.length / columns) + 28
  const body = panels.map((panel, index) =>
    drawPanel(panel, (index % columns) * panelWidth, Math.floor(index / columns) * panelHeight),
  )
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img" aria-label="${escape(caption)}">
<style>text{font-family:system-ui,sans-serif;fill:#222}.title{font-size:13px;font-weight:600}.label,.tick{font-size:10.5px;fill:#555}.grid{stroke:#ddd}</style>
<rect width="100%" height="100%" fill="#fff"/>
${body.join('\n')}
<text x="10" y="${height - 8}" class="label">${escape(caption)}</text>
</svg>
`
}
