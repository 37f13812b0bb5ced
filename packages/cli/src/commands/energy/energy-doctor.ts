import type { SourceFinding } from '@swift/energy'
import type { CommandCall } from '../../arguments/command.ts'
import { paint, printJson, printLine } from '../../output/output.ts'

const colours = { measured: 'green', modelled: 'yellow', shown: 'dim', unavailable: 'red' } as const
const titles = {
  measured: 'will be measured',
  modelled: 'will be modelled',
  shown: 'is read and not added',
  unavailable: 'is unavailable',
} as const

/** `swift energy doctor`: what will be measured, modelled, unavailable, why, and the fix. */
export async function doctor({ output }: CommandCall): Promise<number> {
  const { describeSources, Ledger } = await import('@swift/energy')
  const findings = describeSources(Ledger.sources())
  if (output.json) {
    printJson({ type: 'energy-doctor', findings })
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
  if (findings.every(({ verdict }) => verdict !== 'measured')) {
    printLine('nothing is measured here: every figure will be modelled, and say so')
  }
  return 0
}
