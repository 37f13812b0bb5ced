// Writes the tables of the committed results into every document that has the marks for it.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { repository } from './harness/machine.ts'
import { readResults, replaceResults } from './harness/results-table.ts'

const results = readResults(new URL('results/', import.meta.url))
for (const name of ['README.md', 'benchmarks/README.md']) {
  const path = join(repository, name)
  const text = replaceResults(readFileSync(path, 'utf8'), results)
  if (text === undefined) continue
  writeFileSync(path, text)
  console.log(`${name}: ${results.length} results`)
}
