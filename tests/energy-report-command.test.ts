import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { segmentHeaders } from '@swift/energy'
import { beforeEach, describe, expect, it } from 'vitest'
import { runSwift } from './command/run-swift.ts'
import { folder, meteredLedger as made, needsMeter } from './energy-support.ts'

beforeEach(needsMeter)

describe('swift energy', () => {
  it('reports by every key, with price, tokens and factor, and compares two runs', async () => {
    const [first, second] = [await made(50), await made(200)]
    for (const per of ['epoch', 'phase', 'account', 'path', 'device']) {
      const { code, stdout } = await runSwift([
        'energy',
        'report',
        first,
        '--per',
        per,
        '--zone',
        'FRA',
        '--price',
        '0.30EUR',
      ])
      expect(code).toBe(0)
      expect(stdout).toContain('exactly: 50 J measured')
      expect(stdout).toContain('CC BY 4.0')
      expect(stdout).toMatch(/cost .* EUR/)
    }
    const tokens = await runSwift(['energy', 'report', first, '--tokens', '1000'])
    expect(tokens.stdout).toMatch(/J\/token \[.*\] measured/)
    const { stdout } = await runSwift(['energy', 'report', '--compare', first, second])
    expect(stdout).toMatch(/machine +measured +50 J .* 200 J .*\+300\.0 %.*differs/)
    const { stdout: json } = await runSwift(['energy', 'report', '--compare', first, second, '--json'])
    expect(JSON.parse(json)).toMatchObject({ type: 'energy-comparison' })
    expect((await runSwift(['energy', 'report', '--compare', first])).stderr).toContain('ERR_ARGUMENT_MISSING')
  })

  it('exports every format, and codes a zone nobody knows', async () => {
    const ledger = await made(36)
    const exported = async (format: string): Promise<string> =>
      (await runSwift(['energy', 'export', ledger, '--format', format])).stdout
    expect(await exported('csv')).toContain('rapl_powercap:intel-rapl:0,measured,')
    expect(await exported('prometheus')).toMatch(/swift_energy_joules_total\{.*class="measured".*\} \d+\.\d{9}/)
    expect(JSON.parse(await exported('sci'))).toMatchObject({ format: 'swift-sci/1', units: 1 })
    const [header = '', row = ''] = (await exported('codecarbon')).split('\n')
    const value = (column: string): string => row.split(',')[header.split(',').indexOf(column)] ?? ''
    expect(Number(value('energy_consumed'))).toBeCloseTo(36 / 3.6e6, 12)
    // Memory was modelled: its column is empty, not a number.
    expect(value('ram_energy')).toBe('')
    const file = join(folder(), 'emissions.csv')
    writeFileSync(file, `${header}\n${row}\n`)
    const back = await runSwift(['energy', 'import', file])
    expect(back.stdout).toMatch(/swift .*0\.00001 kWh +0\.00001 kWh +unavailable +unavailable/)
    expect(back.stdout).toContain('does not say which of these joules were measured')
    expect((await runSwift(['energy', 'report', ledger, '--zone', 'ATLANTIS'])).stderr).toContain('ERR_CARBON_ZONE')
  })

  it('calibrates against a wall meter, and reports with it', async () => {
    const ledgers = [await made(2), await made(20), await made(60)]
    // The meter saw 1.1 J for each joule over the whole time of every run, and 30 W more.
    const lines = ['unix_ms,watts']
    const spans: { start: number; end: number; watts: number }[] = []
    for (const [index, ledger] of ledgers.entries()) {
      const { stdout } = await runSwift(['energy', 'report', ledger, '--json'])
      const { durationSeconds } = JSON.parse(stdout) as { durationSeconds: number }
      const [header] = await segmentHeaders(ledger)
      const start = header?.startedUnixMs ?? 0
      const joules = [2, 20, 60][index] ?? 0
      spans.push({ start, end: start + durationSeconds * 1000, watts: (1.1 * joules) / durationSeconds + 30 })
    }
    for (const { start, end, watts } of spans) lines.push(`${start - 1},${watts}`, `${end + 1},${watts}`)
    const meter = join(folder(), 'meter.csv')
    writeFileSync(meter, `${lines.join('\n')}\n`)
    const file = join(folder(), 'calibration.json')
    const fitted = await runSwift(['energy', 'calibrate', meter, ...ledgers, '--calibration', file])
    expect(fitted.stderr).toBe('')
    const calibration = JSON.parse(readFileSync(file, 'utf8')) as { gain: number; offsetWatts: number; id: string }
    expect(calibration.gain).toBeCloseTo(1.1, 4)
    expect(calibration.offsetWatts).toBeCloseTo(30, 3)
    const { stdout } = await runSwift(['energy', 'report', ledgers[1] ?? '', '--calibration', file])
    expect(stdout).toContain(calibration.id)
    // The duration in the report is rounded to what JSON holds of it.
    expect(Number(/exactly: ([\d.]+) J measured/.exec(stdout)?.[1])).toBeCloseTo(22, 2)
  })

  it('watches a ledger as plain lines and ends when it rests', async () => {
    const ledger = await made(5)
    const { code, stdout } = await runSwift(['energy', 'watch', ledger])
    expect(code).toBe(0)
    expect(stdout).toContain('5 J measured')
    expect(stdout).toContain('no commit for 5 s')
  })

  it('explains the machine, and waits for nobody without a forecast', async () => {
    const { code, stdout } = await runSwift(['energy', 'doctor', '--json'])
    expect(code).toBe(0)
    const { findings } = JSON.parse(stdout) as { findings: { verdict: string; why: string }[] }
    expect(findings.length).toBeGreaterThan(0)
    for (const { why } of findings) expect(why).not.toBe('')
    const empty = folder()
    const waiting = await runSwift(['energy', 'run', '--deadline', '2h', '--', 'true'], { cwd: empty })
    expect(waiting.stderr).toContain('ERR_CARBON_FORECAST')
    expect(readdirSync(empty)).toEqual([])
  })
})
