import type { CommandCall } from '../../arguments/command.ts'
import { printJson, printLine } from '../../output/output.ts'
import { formatTable } from '../../output/table.ts'

/** `swift energy sources`: the raw list that `doctor` explains. */
export async function sources({ output }: CommandCall): Promise<number> {
  const { Ledger } = await import('@swift/energy')
  const found = Ledger.sources()
  if (output.json) printJson({ type: 'energy-sources', sources: found })
  else
    printLine(
      formatTable(found.map((source) => [source.id, source.scope, source.state, source.provenance, source.reason])),
    )
  return 0
}
