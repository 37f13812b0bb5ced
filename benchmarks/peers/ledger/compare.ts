// node --conditions=@swift/source benchmarks/peers/ledger/compare.ts [--python .venv/bin/python] [--json FILE] [V1 …]
import { existsSync, writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { parseArgs } from 'node:util'
import { ledgerPeersPython, runVectors, type VectorAnswer } from './run-vectors.ts'

function cellOf({ joules, error, truthJoules, right }: VectorAnswer): string {
  const shown = joules === undefined ? `failed: ${error ?? ''}`.slice(0, 24) : `${joules.toFixed(3)} J`
  // Every tool was fed on its own; its truth may differ by a tick where the tool itself decides when a task begins.
  return `${shown}${right ? '' : ` ✗ of ${truthJoules?.toFixed(3) ?? '?'}`}`
}

const { values, positionals } = parseArgs({
  options: { python: { type: 'string' }, json: { type: 'string' } },
  allowPositionals: true,
})
const python = values.python ?? ledgerPeersPython()
if (python === undefined) console.log('CodeCarbon and Zeus are not installed: run `pnpm bench:peers ledger`')
else if (!existsSync(python) && python.includes('/')) throw new Error(`no interpreter ${python}`)

const rows: VectorAnswer[] = []
console.log(
  `vectors on a real clock; ${cpus()[0]?.model.trim() ?? 'unknown processor'}, ${new Date().toISOString().slice(0, 10)}`,
)
const names = python === undefined ? ['swift'] : ['swift', 'codecarbon', 'zeus']
console.log(['', 'truth', ...names].map((cell) => cell.padEnd(28)).join(''))
for await (const answers of runVectors(python, positionals)) {
  const [first] = answers
  const truth = first?.truthJoules === undefined ? '' : `${first.truthJoules.toFixed(3)} J`
  console.log([first?.vector ?? '', truth, ...answers.map(cellOf)].map((cell) => cell.padEnd(28)).join(''))
  console.log(`    ${first?.title ?? ''}`)
  rows.push(...answers)
}
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(rows, null, 2)}\n`)
