import type { JSX } from 'preact'
import { useEffect, useLayoutEffect, useRef } from 'preact/hooks'
import uPlot from 'uplot'

/** Colours and letters a chart draws its frame with. */
export interface ChartColours {
  /** Font families, as in CSS. */
  readonly font: string
  readonly text: string
  readonly muted: string
  readonly rule: string
  readonly surface: string
}

/** Reads a custom property of the theme. */
export function themeColour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim()
}

/** Colours of the theme that is on now. */
export function chartColours(): ChartColours {
  return {
    font: getComputedStyle(document.body).fontFamily,
    text: themeColour('text'),
    muted: themeColour('muted'),
    rule: themeColour('rule'),
    surface: themeColour('surface'),
  }
}

/** Axis options that every chart shares. */
export function axis(colours: ChartColours, options: uPlot.Axis): uPlot.Axis {
  return {
    stroke: colours.muted,
    font: `12px ${colours.font}`,
    labelFont: `12px ${colours.font}`,
    labelSize: 18,
    labelGap: 2,
    size: 30,
    grid: { stroke: colours.rule, width: 1 },
    ticks: { show: false },
    border: { show: true, stroke: colours.rule, width: 1 },
    gap: 6,
    ...options,
  }
}

/**
 * A uPlot chart as wide as its place and of a fixed height, so that nothing moves when it appears. It takes the focus;
 * arrow keys move the cursor from point to point, Home and End to the ends, Escape takes it away.
 */
export function Chart({
  label,
  height,
  data,
  options,
  resetKey,
  onCursor,
}: {
  /** What the chart shows, for those who hear it. */
  readonly label: string
  /** CSS pixels. */
  readonly height: number
  readonly data: uPlot.AlignedData
  /** Called whenever the chart is made anew. */
  readonly options: () => Omit<uPlot.Options, 'width' | 'height'>
  /** A new key makes a new chart; otherwise only the data change. */
  readonly resetKey: string
  /** Index of the point at the cursor; undefined when there is none. */
  readonly onCursor?: (index: number | undefined) => void
}): JSX.Element {
  const place = useRef<HTMLDivElement>(null)
  const plot = useRef<uPlot | undefined>(undefined)
  const shown = useRef<number | undefined>(undefined)

  const moveTo = (index: number): void => {
    const chart = plot.current
    const xs = chart?.data[0]
    if (chart === undefined || xs === undefined || xs.length === 0) return
    const at = Math.max(0, Math.min(xs.length - 1, index))
    const left = chart.valToPos(xs[at] ?? 0, 'x')
    chart.setCursor({ left, top: chart.bbox.height / devicePixelRatio / 2 })
  }

  useLayoutEffect(() => {
    const target = place.current
    if (target === null) return
    const given = options()
    const made = new uPlot(
      {
        ...given,
        width: Math.max(200, target.clientWidth),
        height,
        legend: { show: false },
        hooks: {
          ...given.hooks,
          setCursor: [
            (chart) => {
              const index = chart.cursor.idx ?? undefined
              if (index === shown.current) return
              shown.current = index
              onCursor?.(index)
            },
          ],
        },
      },
      data,
      target,
    )
    plot.current = made
    // News make a new chart; whoever was reading a point of the old one goes on reading there.
    const kept = shown.current
    shown.current = undefined
    if (kept !== undefined) moveTo(kept)
    const observer = new ResizeObserver(() => {
      const width = Math.max(200, target.clientWidth)
      if (width !== made.width) made.setSize({ width, height })
    })
    observer.observe(target)
    return () => {
      observer.disconnect()
      made.destroy()
      plot.current = undefined
    }
  }, [resetKey, height])

  useEffect(() => {
    plot.current?.setData(data)
  }, [data])

  const onKeyDown = (event: KeyboardEvent): void => {
    const last = (plot.current?.data[0].length ?? 1) - 1
    const step = event.shiftKey ? 10 : 1
    const current = shown.current
    if (event.key === 'ArrowRight') moveTo(current === undefined ? 0 : current + step)
    else if (event.key === 'ArrowLeft') moveTo(current === undefined ? last : current - step)
    else if (event.key === 'Home') moveTo(0)
    else if (event.key === 'End') moveTo(last)
    else if (event.key === 'Escape') plot.current?.setCursor({ left: -10, top: -10 })
    else return
    event.preventDefault()
  }
  return (
    <div
      ref={place}
      class="chart"
      style={{ height: `${height}px` }}
      tabIndex={0}
      role="img"
      aria-label={`${label}. Arrow keys move from point to point.`}
      onKeyDown={onKeyDown}
    />
  )
}
