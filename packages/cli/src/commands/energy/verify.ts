import type { CommandCall } from '../../arguments/command.ts'
import { printJson, printLine } from '../../output/output.ts'
import { formatTable } from '../../output/table.ts'
import { ledgerFolder } from './ledger-folder.ts'

/** `swift energy verify DIR`: exit code 2 where something is wrong. */
export async function verify({ positionals, output }: CommandCall): Promise<number> {
  const { Ledger } = await import('@swift/energy')
  const result = await Ledger.verify(await ledgerFolder(positionals[1], 'verify'))
  const { findings, ...counts } = result
  if (output.json) printJson({ type: 'energy-verification', ...result })
  else {
    printLine(formatTable(Object.entries(counts).map(([name, value]) => [name, String(value)])))
    for (const { code, invariant, segment, message } of findings)
      printLine(`${code} ${invariant} ${segment}: ${message}`)
  }
  return result.ok ? 0 : 2
}
