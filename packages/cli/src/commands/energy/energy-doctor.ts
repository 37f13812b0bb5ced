import type { SourceFinding } from '@swift/energy'
import type { CommandCall } from '../../arguments/command.ts'
import { paint, printJson, printLine } from '../../output/output.ts'
import { sourceOptions } from './source-options.ts'

const colours = { measured: 'green', modelled: 'yellow', shown: 'dim', unavailable: 'red' } as const
const titles = {
  measured: 'will be measured',
  modelled: 'will be modelled',
  shown: 'is read and not added',
  unavailable: 'is unavailable',
} as const

/** `swift energy doctor`: what will be measured, modelled, unavailable, why, and the fix. */
export async function doctor({ output, values }: CommandCall): Promise<number> {
  const { describeSources, Ledger, PowerTuning, sourceHints } = await import('@swift/energy')
  const restored = await PowerTuning.restore()
  const settings = await PowerTuning.settings()
  const sources = await Ledger.findSources(sourceOptions(values))
  const [findings, hints] = [describeSources(sources), sourceHints(sources)]
  if (output.json) {
    printJson({ type: 'energy-doctor', findings, hints, settings, restored })
    return 0
  }
  const order = ['measured', 'modelled', 'shown', 'unavailable'] as const
  for (const verdict of order) {
    const some = findings.filter((finding: SourceFinding) => finding.verdict === verdict)
    if (some.length === 0) continue
    printLine(paint(output, colours[verdict], `${titles[verdict]}:`))
    for (const { source, why, fix } of some) {
      printLine(`  ${source}`)
      printLine(`    why  ${why}`)
      if (fix !== undefined) printLine(`    fix  ${fix}`)
    }
  }
  if (settings.length > 0) printLine('power that can be set:')
  for (const { id, label, value, minimum, maximum, isWritable, reason } of settings) {
    printLine(`  ${id}: ${label}, now ${value}, from ${minimum ?? '?'} to ${maximum ?? '?'}`)
    if (!isWritable) printLine(`    fix  ${reason ?? 'run as root'}`)
  }
  for (const { setting, value, error } of restored) {
    printLine(`an earlier process left ${setting} changed: ${error ?? `put back to ${value}`}`)
  }
  for (const hint of hints) printLine(paint(output, 'dim', `hint: ${hint}`))
  if (findings.every(({ verdict }) => verdict !== 'measured')) {
    printLine('nothing is measured here: every figure will be modelled, and say so')
  }
  return 0
}
