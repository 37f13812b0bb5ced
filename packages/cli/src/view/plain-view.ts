import { formatDuration, type TrainingEvent } from '@swift/core'
import { printLine, type OutputMode } from '../output/output.ts'
import { formatPath, stepLine } from './format-values.ts'
import type { TrainingView } from './start-view.ts'

/** One line per logged step, evaluation, checkpoint and note. */
export class PlainView implements TrainingView {
  readonly output: OutputMode
  #lastStep: Extract<TrainingEvent, { type: 'step' }> | undefined

  constructor(output: OutputMode) {
    this.output = output
  }

  show(event: TrainingEvent): void {
    if (event.type === 'step') this.#lastStep = event
    const line = this.lineOf(event)
    if (line !== undefined) printLine(line)
  }

  /** The line of an event, if it has one. */
  lineOf(event: TrainingEvent): string | undefined {
    switch (event.type) {
      case 'start':
        return event.resumedFrom === undefined
          ? `run in ${formatPath(event.runFolder)}`
          : `run in ${formatPath(event.runFolder)}, continuing after step ${event.resumedStep} (${formatPath(event.resumedFrom)})`
      case 'plan':
        return `\n${event.plan.print()}\n`
      case 'log':
        return this.#lastStep === undefined
          ? undefined
          : stepLine({ ...this.#lastStep, loss: event.loss, tokenAccuracy: event.tokenAccuracy })
      case 'evaluation':
        return `evaluation at step ${event.step} · loss ${event.loss.toFixed(4)} · accuracy ${(100 * event.tokenAccuracy).toFixed(1)} %${event.isBest ? ' · best so far' : ''}`
      case 'checkpoint':
        return `checkpoint ${formatPath(event.path)} · ${formatDuration(event.durationMs / 1000)}`
      case 'pause':
        return `paused after step ${event.step} · ${event.message}`
      case 'resume':
        return `resumed after step ${event.step} · ${event.message}`
      case 'note':
        return `note ${event.code}: ${event.message}`
      default:
        return undefined
    }
  }

  close(): Promise<void> {
    return Promise.resolve()
  }
}
