import type { CommandCall } from '../../arguments/command.ts'
import { printJson, printLine } from '../../output/output.ts'
import { formatTable } from '../../output/table.ts'
import { sourceOptions } from './source-options.ts'

/** `swift energy sources`: the raw list that `doctor` explains. */
export async function sources({ output, values }: CommandCall): Promise<number> {
  const { Ledger } = await import('@swift/energy')
  const found = await Ledger.findSources(sourceOptions(values))
  if (output.json) printJson({ type: 'energy-sources', sources: found })
  else
    printLine(
      formatTable(found.map((source) => [source.id, source.scope, source.state, source.provenance, source.reason])),
    )
  return 0
}
