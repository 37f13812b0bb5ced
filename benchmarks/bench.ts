// `pnpm bench SUITE [--json FILE] [--option value …]`: measures, prints a table, writes JSON. Without a suite: the list.
import { existsSync, readdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { CpuWatch } from './harness/cpu-watch.ts'
import { formatTable } from './harness/format-table.ts'
import { measureLimits, type Limits } from './harness/limits.ts'
import { describeCommit, describeMachine, ownVersions, repository } from './harness/machine.ts'
import { parseArguments } from './harness/parse-arguments.ts'
import { writeResult } from './harness/result.ts'
import type { Suite } from './harness/suite.ts'

const suitesFolder = new URL('suites/', import.meta.url)

async function loadSuite(name: string): Promise<Suite> {
  return ((await import(new URL(`${name}.ts`, suitesFolder).href)) as { default: Suite }).default
}

async function listSuites(): Promise<string> {
  const names = readdirSync(suitesFolder)
    .filter((file) => file.endsWith('.ts') && !file.endsWith('.test.ts'))
    .map((file) => file.slice(0, -3))
  const texts: string[] = []
  for (const name of names) {
    const { summary, options } = await loadSuite(name)
    texts.push(`  ${name.padEnd(12)} ${summary}`)
    for (const [option, { meaning, default: value }] of Object.entries(options)) {
      texts.push(`    --${option.padEnd(12)} ${meaning}${value === undefined ? '' : ` (default ${value})`}`)
    }
  }
  return `pnpm bench SUITE [--json FILE] [options]\n\n${texts.join('\n')}`
}

async function runSuite(name: string, texts: readonly string[]): Promise<void> {
  const suite = await loadSuite(name)
  const { json, options } = parseArguments(texts, suite.options)
  const date = new Date()
  const machine = describeMachine()
  const versions = ownVersions()
  let limits: Limits | undefined
  console.log(`${name}: ${suite.summary}`)
  console.log(
    `${machine.processor} (${machine.processorId ?? 'no id'}), ${machine.threads} threads, ${machine.instructionSet}, load average ${machine.loadAverage.toFixed(2)}`,
  )
  const rows = await suite.run({
    options,
    watch: new CpuWatch(),
    limits: () => (limits ??= measureLimits()),
    say: (line) => console.log(line),
    version: (peer, version) => void (versions[peer] = version),
  })
  console.log(`\n${formatTable(rows)}`)
  const path = resolve(json ?? join(repository, 'runs/bench', `${name}.json`))
  writeResult(path, {
    suite: name,
    machine,
    versions,
    commit: describeCommit(),
    date: date.toISOString(),
    options: Object.fromEntries(options),
    seconds: Math.round((Date.now() - date.getTime()) / 1000),
    rows,
  })
  console.log(`\nwritten to ${path}`)
  const disturbed = rows.filter((row) => row.disturbed).length
  if (disturbed > 0) {
    console.log(`${disturbed} of ${rows.length} rows were disturbed: other processes took more than 10 % of the CPU`)
  }
}

const [name, ...rest] = process.argv.slice(2)
if (name === undefined || name === '--help') {
  console.log(await listSuites())
} else if (existsSync(new URL(`${name}.ts`, suitesFolder))) {
  await runSuite(name, rest)
} else {
  console.error(`there is no suite ${name}\n\n${await listSuites()}`)
  process.exitCode = 2
}
