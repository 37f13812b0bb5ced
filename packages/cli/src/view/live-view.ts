import { formatBytes, formatDuration, type PauseEvent, type StepEvent, type TrainingEvent } from '@swift/core'
import { Box, render, Static, Text } from 'ink'
import { createElement as h, type ReactElement } from 'react'
import type { OutputMode } from '../output/output.ts'
import { bySource, formatEnergy, formatWatts } from './format-values.ts'
import { PlainView } from './plain-view.ts'
import { sparkline } from './sparkline.ts'
import type { TrainingView } from './start-view.ts'

interface State {
  readonly lines: readonly string[]
  readonly step: StepEvent | undefined
  readonly losses: readonly number[]
  readonly progress: string | undefined
}

function bar(fraction: number, width: number): string {
  const filled = Math.round(Math.min(1, fraction) * width)
  return '█'.repeat(filled) + '░'.repeat(width - filled)
}

function row(name: string, value: string): ReactElement {
  return h(
    Box,
    { key: name },
    h(Box, { width: 10 }, h(Text, { dimColor: true }, name)),
    h(Text, { wrap: 'truncate' }, value),
  )
}

function stepRows(step: StepEvent, losses: readonly number[], columns: number): ReactElement {
  const fraction = step.step / Math.max(1, step.totalSteps)
  const percent = `${Math.round(100 * fraction)} %`.padStart(5)
  const barWidth = Math.max(10, Math.min(50, columns - 52))
  return h(
    Box,
    { flexDirection: 'column' },
    h(
      Box,
      { key: 'bar' },
      h(Text, { color: 'green' }, bar(fraction, barWidth)),
      h(Text, { bold: true }, ` ${percent}`),
      h(Text, null, `  step ${step.step}/${step.totalSteps} · ${formatDuration(step.remainingMs / 1000)} left`),
    ),
    row('loss', `${step.loss.toFixed(4)}  ${sparkline(losses, Math.max(10, Math.min(40, columns - 24)))}`),
    row(
      'accuracy',
      `${(100 * step.tokenAccuracy).toFixed(1)} % of tokens · epoch ${step.epoch.toFixed(2)} · lr ${step.learningRate.toExponential(2)} · norm ${step.gradientNorm.toPrecision(3)}`,
    ),
    row('speed', `${Math.round(step.tokensPerSecond)} tokens/s`),
    row('memory', `${formatBytes(step.liveBytes)} now · ${formatBytes(step.peakBytes)} peak`),
    row('power', bySource(step.measuredWatts, step.modelledWatts, formatWatts)),
    row('energy', bySource(step.measuredJoules, step.modelledJoules, formatEnergy)),
  )
}

function view(state: State, columns: number): ReactElement {
  return h(
    Box,
    { flexDirection: 'column' },
    h(Static<{ line: string; index: number }>, {
      items: state.lines.map((line, index) => ({ line, index })),
      children: (entry: { line: string; index: number }) => h(Text, { key: entry.index }, entry.line),
    }),
    state.progress === undefined ? null : h(Text, { dimColor: true }, state.progress),
    state.step === undefined ? null : stepRows(state.step, state.losses, columns),
  )
}

function pauseLine({ untilUnixMs, latestUnixMs }: PauseEvent): string {
  const instant = (unixMs: number | undefined): string | undefined =>
    unixMs === undefined || !Number.isFinite(unixMs) ? undefined : new Date(unixMs).toLocaleTimeString()
  const [until, latest] = [instant(untilUnixMs), instant(latestUnixMs)]
  const parts = [until === undefined ? 'paused' : `paused until about ${until}`]
  return [...parts, ...(latest === undefined ? [] : [`at the latest ${latest}`]), 'Ctrl-C ends the run'].join(' · ')
}

/** The live view: notes scroll by above, figures stay below. */
export function startLiveView(output: OutputMode): TrainingView {
  let state: State = { lines: [], step: undefined, losses: [], progress: undefined }
  const columns = (): number => process.stdout.columns ?? 80
  const app = render(view(state, columns()), { exitOnCtrlC: false, patchConsole: false })
  const plain = new PlainView(output)
  const redraw = (): void => app.rerender(view(state, columns()))
  return {
    show: (event: TrainingEvent) => {
      if (event.type === 'step') {
        state = { ...state, step: event, losses: [...state.losses, event.loss], progress: undefined }
      } else if (event.type === 'progress') {
        state = { ...state, progress: `${event.phase}: ${event.rows} rows, ${event.tokens} tokens` }
      } else if (event.type !== 'log') {
        const line = plain.lineOf(event)
        if (line !== undefined) state = { ...state, lines: [...state.lines, line] }
        if (event.type === 'pause') state = { ...state, progress: pauseLine(event) }
        if (event.type === 'resume') state = { ...state, progress: undefined }
      }
      redraw()
    },
    close: async () => {
      app.unmount()
      await app.waitUntilExit()
    },
  }
}
