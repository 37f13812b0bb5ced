import { availableParallelism, cpus, freemem, release, totalmem, type as systemType } from 'node:os'
import { SwiftError } from '@swift/spec'
import type { Command } from '../arguments/command.ts'
import { paint, printJson, printLine, type OutputMode } from '../output/output.ts'
import { formatTable } from '../output/table.ts'

interface Finding {
  readonly name: string
  readonly value: string
  readonly ok: boolean
  readonly fix?: string
}

const gibibytes = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(1)} GiB`

function machineFindings(): Finding[] {
  const [first] = cpus()
  return [
    { name: 'system', value: `${systemType()} ${release()} ${process.arch}`, ok: true },
    { name: 'processor', value: `${first?.model.trim() ?? 'unknown'} · ${availableParallelism()} cores`, ok: true },
    { name: 'memory', value: `${gibibytes(freemem())} free of ${gibibytes(totalmem())}`, ok: true },
    { name: 'node', value: process.version, ok: true },
  ]
}

async function kernelFindings(): Promise<Finding[]> {
  try {
    const { describeCpu, device, opNames } = await import('@swift/core')
    const { isa, available, nativeBfloat16, threads } = describeCpu()
    const on = device('cpu')
    return [
      { name: 'kernels', value: `native binary loaded · ${opNames().length} ops`, ok: true },
      { name: 'instruction set', value: `${isa} (this CPU has ${available.join(', ')}; SWIFT_ISA chooses)`, ok: true },
      {
        name: 'compute dtype',
        value: `${on.computeDType} (bfloat16 products are ${nativeBfloat16 ? 'native' : 'not native'} here)`,
        ok: true,
      },
      { name: 'threads', value: `${threads} (SWIFT_THREADS sets it)`, ok: true },
      { name: 'cuda', value: 'not built into this binary; it computes on the cpu', ok: true },
    ]
  } catch (error) {
    // A binary that loaded and refuses says what to do; one that is missing or broken cannot.
    if (SwiftError.isInstance(error) && error.code.startsWith('ERR_ISA_')) {
      return [{ name: 'kernels', value: `${error.asked}: ${error.found}`, ok: false, fix: error.remedy }]
    }
    const value = error instanceof Error ? error.message : String(error)
    const fix = 'Run npm run native in the repository, or reinstall @swift/kernels'
    return [{ name: 'kernels', value, ok: false, fix }]
  }
}

async function pluginFindings(): Promise<Finding[]> {
  const { discoverPlugin } = await import('@swift/core')
  const names = ['@swift/plugin-lora', '@swift/plugin-bnb', '@swift/plugin-qlora']
  const found = await Promise.all(
    names.map(async (name) => ((await discoverPlugin(name)).length > 0 ? name : undefined)),
  )
  const present = found.filter((name) => name !== undefined)
  const missing = names.filter((name) => !present.includes(name))
  return [
    {
      name: 'plugins',
      value: present.length === 0 ? 'none found' : present.join(', '),
      ok: present.length > 0,
      ...(missing.length === 0 ? {} : { fix: `npm i ${missing.join(' ')}` }),
    },
  ]
}

async function energyFindings(): Promise<Finding[]> {
  const { Ledger } = await import('@swift/core')
  return Ledger.sources().map((source) => ({
    name: `energy ${source.scope}`,
    value: `${source.id}: ${source.state} · ${source.provenance} ±${Math.round(source.relativeUncertainty * 100)} % · ${source.reason}`,
    ok: source.state !== 'unavailable',
  }))
}

function print(findings: readonly Finding[], output: OutputMode): void {
  printLine(formatTable(findings.map(({ name, value, ok }) => [ok ? ' ' : '!', name, value])))
  for (const { name, fix } of findings) {
    if (fix !== undefined) printLine(`\n${paint(output, 'yellow', name)}: ${fix}`)
  }
}

/** `swift doctor`. */
export const doctor: Command = {
  name: 'doctor',
  summary: 'tell what this machine has: kernels, threads, memory, energy sources, plugins',
  usage: '',
  examples: ['swift doctor', 'swift doctor --json'],
  options: () => Promise.resolve({}),
  run: async ({ output }) => {
    const kernels = await kernelFindings()
    const usable = kernels.every(({ ok }) => ok)
    const findings = [
      ...machineFindings(),
      ...kernels,
      ...(usable ? [...(await pluginFindings()), ...(await energyFindings())] : []),
    ]
    if (output.json) printJson({ type: 'doctor', findings })
    else print(findings, output)
    return usable ? 0 : 2
  },
}
