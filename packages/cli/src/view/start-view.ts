import type { TrainingEvent } from '@swift/core'
import { printJson, type OutputMode } from '../output/output.ts'
import { PlainView } from './plain-view.ts'

/** Shows a run while it goes on. */
export interface TrainingView {
  show(event: TrainingEvent): void
  close(): Promise<void>
}

/** JSON lines, a live view, or plain lines. */
export async function startView(output: OutputMode): Promise<TrainingView> {
  if (output.json) return { show: (event) => printJson(event), close: () => Promise.resolve() }
  if (!output.live) return new PlainView(output)
  const { startLiveView } = await import('./live-view.ts')
  return startLiveView(output)
}
