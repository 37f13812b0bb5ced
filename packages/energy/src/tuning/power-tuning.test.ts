import { spawn } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { SwiftError } from '@swift/spec'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { CpuFrequencyControl } from './cpu-frequency-control.ts'
import { NvidiaControl } from './nvidia-control.ts'
import { PowercapControl } from './powercap-control.ts'
import { PowerTuning } from './power-tuning.ts'

let root: string
let tree: string
let stateFolder: string
const setting = 'powercap:intel-rapl:0'

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'swift-power-'))
  tree = join(root, 'powercap')
  stateFolder = join(root, 'state')
  const zone = join(tree, 'intel-rapl:0')
  mkdirSync(zone, { recursive: true })
  writeFileSync(join(zone, 'name'), 'package-0\n')
  writeFileSync(join(zone, 'constraint_0_power_limit_uw'), '200000000\n')
  writeFileSync(join(zone, 'constraint_0_max_power_uw'), '250000000\n')
})
afterEach(() => rmSync(root, { recursive: true, force: true }))

const limit = (): string => readFileSync(join(tree, 'intel-rapl:0', 'constraint_0_power_limit_uw'), 'utf8').trim()
const options = () => ({ controls: [new PowercapControl(tree)], stateFolder })
const codeOf = async (call: Promise<unknown>): Promise<string> =>
  call.then(
    () => 'no error',
    (error: unknown) => (SwiftError.isInstance(error) ? error.code : String(error)),
  )

describe('PowerTuning', () => {
  it('records first, sets, and puts back what was there at the beginning', async () => {
    {
      await using tuning = await PowerTuning.open(options())
      await tuning.set(setting, '150000000')
      await tuning.set(setting, '120000000')
      expect(limit()).toBe('120000000')
      const [file = ''] = readdirSync(stateFolder)
      expect(JSON.parse(readFileSync(join(stateFolder, file), 'utf8'))).toMatchObject({ before: '200000000' })
    }
    expect(limit()).toBe('200000000')
    expect(readdirSync(stateFolder)).toEqual([])
  })

  it('changes nothing when the record cannot be written', async () => {
    const tuning = await PowerTuning.open(options())
    rmSync(stateFolder, { recursive: true })
    expect(await codeOf(tuning.set(setting, '150000000'))).toBe('ERR_POWER_SETTING')
    expect(limit()).toBe('200000000')
    expect((await PowerTuning.settings(options())).map(({ maximum }) => maximum)).toEqual(['250000000'])
    expect(await PowerTuning.restore(options())).toEqual([])
    await tuning.close()
  })

  it('refuses values out of range, unknown settings and what another process holds', async () => {
    await using tuning = await PowerTuning.open(options())
    expect(await codeOf(tuning.set(setting, '260000000'))).toBe('ERR_POWER_SETTING')
    expect(await codeOf(tuning.set(setting, 'much'))).toBe('ERR_POWER_SETTING')
    expect(await codeOf(tuning.set('powercap:intel-rapl:9', '1'))).toBe('ERR_POWER_SETTING')
    await tuning.set(setting, '150000000')
    await using other = await PowerTuning.open(options())
    expect(other.restored).toEqual([])
    expect(await codeOf(other.set(setting, '100000000'))).toBe('ERR_POWER_SETTING')
    expect(limit()).toBe('150000000')
  })

  it('is put back at the next start after kill -9, and by a signal', async () => {
    const module = fileURLToPath(new URL('power-tuning.ts', import.meta.url))
    const control = fileURLToPath(new URL('powercap-control.ts', import.meta.url))
    const script = `
      const { PowerTuning } = await import(${JSON.stringify(module)})
      const { PowercapControl } = await import(${JSON.stringify(control)})
      const tuning = await PowerTuning.open({ controls: [new PowercapControl(${JSON.stringify(tree)})], stateFolder: ${JSON.stringify(stateFolder)} })
      await tuning.set(${JSON.stringify(setting)}, '90000000')
      console.log('set')
      setInterval(() => undefined, 1000)`
    const killed = async (signal: NodeJS.Signals): Promise<void> => {
      const child = spawn(process.execPath, ['--conditions=@swift/source', '--input-type=module', '-e', script])
      let errors = ''
      child.stderr.on('data', (data) => (errors += String(data)))
      await new Promise<void>((resolve, reject) => {
        child.stdout.once('data', () => resolve())
        child.once('exit', () => reject(new Error(errors)))
      })
      expect(limit()).toBe('90000000')
      const exited = new Promise((resolve) => child.once('exit', resolve))
      child.kill(signal)
      await exited
    }
    await killed('SIGKILL')
    expect(limit()).toBe('90000000')
    const next = await PowerTuning.open(options())
    expect(next.restored).toEqual([{ setting, value: '200000000', error: undefined }])
    expect(limit()).toBe('200000000')
    await next.close()
    await killed('SIGKILL')
    expect(await PowerTuning.restore(options())).toEqual([{ setting, value: '200000000', error: undefined }])
    expect(limit()).toBe('200000000')
    expect(await PowerTuning.restore(options())).toEqual([])
    await killed('SIGTERM')
    expect(limit()).toBe('200000000')
    expect(readdirSync(stateFolder)).toEqual([])
  })

  it('is put back when the process exits, also in the midst of putting back, and leaves signals to who listens to them', async () => {
    const module = fileURLToPath(new URL('power-tuning.ts', import.meta.url))
    const control = fileURLToPath(new URL('powercap-control.ts', import.meta.url))
    const run = async (end: string): Promise<{ readonly code: number | null; readonly output: string }> => {
      const script = `
        const { PowerTuning } = await import(${JSON.stringify(module)})
        const { PowercapControl } = await import(${JSON.stringify(control)})
        const options = { controls: [new PowercapControl(${JSON.stringify(tree)})], stateFolder: ${JSON.stringify(stateFolder)} }
        const tuning = await PowerTuning.open(options)
        const another = await PowerTuning.open({ ...options, controls: [] })
        await tuning.set(${JSON.stringify(setting)}, '90000000')
        ${end}`
      const child = spawn(process.execPath, ['--conditions=@swift/source', '--input-type=module', '-e', script])
      let output = ''
      child.stdout.on('data', (data) => (output += String(data)))
      child.stderr.on('data', (data) => (output += String(data)))
      const code = await new Promise<number | null>((resolve) => child.once('close', resolve))
      return { code, output }
    }
    expect(await run(`process.exit(7)`)).toEqual({ code: 7, output: '' })
    expect([limit(), readdirSync(stateFolder)]).toEqual(['200000000', []])
    expect(await run(`void tuning.close(); setImmediate(() => process.exit(8))`)).toEqual({ code: 8, output: '' })
    expect([limit(), readdirSync(stateFolder)]).toEqual(['200000000', []])
    // Two tunings, and nobody else: both are closed, and the signal does what it does.
    const alone = await run(`setInterval(() => undefined, 1000); process.kill(process.pid, 'SIGTERM')`)
    expect([alone, limit(), readdirSync(stateFolder)]).toEqual([{ code: null, output: '' }, '200000000', []])
    const listener = `
      setInterval(() => undefined, 1000)
      process.on('SIGTERM', () => {
        setTimeout(() => { console.log('still set', another.restored.length); process.exit(9) }, 50)
      })
      process.kill(process.pid, 'SIGTERM')`
    expect(await run(listener)).toEqual({ code: 9, output: 'still set 0\n' })
    expect([limit(), readdirSync(stateFolder)]).toEqual(['200000000', []])
  })

  it('keeps the record of what it could not put back', async () => {
    const tuning = await PowerTuning.open(options())
    await tuning.set(setting, '150000000')
    rmSync(join(tree, 'intel-rapl:0'), { recursive: true })
    const [failed] = await tuning.close()
    expect(failed?.error).toContain('ENOENT')
    expect(readdirSync(stateFolder)).toHaveLength(1)
  })
})

describe('CpuFrequencyControl', () => {
  it('sets the highest clock of every policy at once, within its range, and puts each back as it was', async () => {
    const policies = join(root, 'cpufreq')
    const put = (entry: string, values: Readonly<Record<string, string>>): void => {
      mkdirSync(join(policies, entry), { recursive: true })
      for (const [name, value] of Object.entries(values)) writeFileSync(join(policies, entry, name), `${value}\n`)
    }
    const range = { cpuinfo_min_freq: '1500000', cpuinfo_max_freq: '3500000' }
    put('policy0', { ...range, scaling_max_freq: '3500000', affected_cpus: '0 1' })
    put('policy10', { ...range, scaling_max_freq: '3000000', affected_cpus: '2 3' })
    put('policy2', { ...range, scaling_max_freq: 'unknown' })
    const control = new CpuFrequencyControl(policies)
    const values = async (): Promise<unknown> => (await control.doList()).map(({ id, value }) => [id, value])
    const before = await values()
    expect(before).toEqual([
      ['cpufreq:policy0', '3500000'],
      ['cpufreq:policy10', '3000000'],
    ])
    const tuning = await PowerTuning.open({ controls: [control], stateFolder })
    expect(await codeOf(tuning.set('cpufreq:*', '1000000'))).toBe('ERR_POWER_SETTING')
    expect(await codeOf(tuning.set('powercap:*', '1'))).toBe('ERR_POWER_SETTING')
    expect(await values()).toEqual(before)
    await tuning.set('cpufreq:*', '2400000')
    expect(await values()).toEqual([
      ['cpufreq:policy0', '2400000'],
      ['cpufreq:policy10', '2400000'],
    ])
    await tuning.close()
    expect(await values()).toEqual(before)
    expect(readdirSync(stateFolder)).toEqual([])
    expect(await new CpuFrequencyControl(join(root, 'absent')).doList()).toEqual([])
  })
})

describe('NvidiaControl', () => {
  it('reads limits by UUID and sets them, and lists nothing where there is no driver', async (context) => {
    if (process.getuid?.() !== 0) context.skip('the driver takes limits from root only')
    const program = join(root, 'nvidia-smi')
    const file = join(root, 'limit')
    writeFileSync(file, '700.00')
    writeFileSync(
      program,
      `#!/bin/sh\nif [ "$1" = "-i" ]; then [ "\${4%%.*}" -le 700 ] || { echo "invalid limit"; exit 3; }; echo "\${4%%.*}.00" > ${file}; else echo "GPU-abc, $(cat ${file}), 200.00, 700.00"; echo "GPU-def, [N/A], [N/A], [N/A]"; fi\n`,
    )
    chmodSync(program, 0o755)
    const control = new NvidiaControl(program)
    expect((await control.doList()).map(({ id, value }) => [id, value])).toEqual([['nvidia:GPU-abc', '700.00']])
    {
      await using tuning = await PowerTuning.open({ controls: [control], stateFolder })
      await tuning.set('nvidia:GPU-abc', '400')
      expect(readFileSync(file, 'utf8').trim()).toBe('400.00')
      expect(await codeOf(tuning.set('nvidia:GPU-abc', '100'))).toBe('ERR_POWER_SETTING')
    }
    // Put back as it was read.
    expect(Number(readFileSync(file, 'utf8'))).toBe(700)
    expect(await new NvidiaControl(join(root, 'absent')).doList()).toEqual([])
  })
})
