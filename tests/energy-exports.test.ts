import {
  buildReport,
  codecarbonCsv,
  exportCsv,
  exportJsonl,
  Ledger,
  PrometheusEndpoint,
  publishOpenTelemetry,
  readCodecarbonCsv,
  sciMarkdown,
  sciReport,
} from '@swift/energy'
import { SwiftError } from '@swift/spec'
import { FakePowercapTree } from '@swift/testing'
import { beforeEach, describe, expect, it } from 'vitest'
import { folder, joule, ledgerOptions, needsMeter } from './energy-support.ts'

beforeEach(needsMeter)

/** A ledger with 7.2 J in a package and 0.72 J in its memory, beside it. */
async function opened(): Promise<{ ledger: Ledger; tree: FakePowercapTree }> {
  const tree = new FakePowercapTree([
    { entry: 'intel-rapl:0', name: 'package-0' },
    { entry: 'intel-rapl:0:0', name: 'dram' },
  ])
  const ledger = await Ledger.open(folder(), ledgerOptions(tree))
  const phase = ledger.phase('train/epoch:0')
  tree.add('intel-rapl:0', (72n * joule) / 10n)
  tree.add('intel-rapl:0:0', (72n * joule) / 100n)
  await ledger.settle()
  phase.end()
  return { ledger, tree }
}

describe('exports', () => {
  it('JSON lines and CSV lose no nanojoule', async () => {
    const { ledger, tree } = await opened()
    const totals = await ledger.close()
    tree[Symbol.dispose]()
    const lines = exportJsonl(totals)
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, string>)
    expect(lines[0]).toMatchObject({ type: 'ledger', runId: totals.runId })
    const entries = lines.filter(({ type }) => type === 'entry')
    expect(entries.reduce((sum, { nanojoules = '0' }) => sum + BigInt(nanojoules), 0n)).toBe(792n * (joule / 100n))
    const rows = exportCsv(totals).trim().split('\n').slice(1)
    expect(rows.reduce((sum, row) => sum + BigInt(row.split(',')[5] ?? '0'), 0n)).toBe(792n * (joule / 100n))
  })

  it('Prometheus scrapes an open ledger from the loopback', async () => {
    const { ledger, tree } = await opened()
    await using endpoint = await PrometheusEndpoint.start(ledger)
    expect(endpoint.url).toContain('127.0.0.1')
    const response = await fetch(endpoint.url)
    expect(response.headers.get('content-type')).toContain('version=0.0.4')
    const text = await response.text()
    const values = [...text.matchAll(/^swift_energy_joules_total\{[^}]*class="measured"[^}]*\} (\d+\.\d+)$/gm)]
    expect(values.reduce((sum, [, value]) => sum + Number(value), 0)).toBeCloseTo(7.92, 9)
    // Every line is a comment or a sample of the text format.
    for (const line of text.trim().split('\n')) expect(line).toMatch(/^(#.*|[a-z_]+(\{.*\})? [\d.]+)$/)
    expect((await fetch(endpoint.url.replace('/metrics', '/other'))).status).toBe(404)
    await ledger.close()
    tree[Symbol.dispose]()
  })

  it('OpenTelemetry reads hw.energy by source and hw.host.energy once', async () => {
    const { AggregationTemporality, InMemoryMetricExporter, MeterProvider, PeriodicExportingMetricReader } =
      await import('@opentelemetry/sdk-metrics')
    const { ledger, tree } = await opened()
    const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE)
    const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3_600_000 })
    const provider = new MeterProvider({ readers: [reader] })
    const stop = publishOpenTelemetry(ledger, { meter: provider.getMeter('test') })
    await provider.forceFlush()
    const metrics = exporter.getMetrics().flatMap(({ scopeMetrics }) => scopeMetrics.flatMap((scope) => scope.metrics))
    const points = (name: string) => metrics.find(({ descriptor }) => descriptor.name === name)?.dataPoints ?? []
    const [host] = points('hw.host.energy')
    expect(host?.value).toBeCloseTo(7.92, 9)
    const types = points('hw.energy').map(({ attributes, value }) => [attributes['hw.type'], value])
    expect(types).toEqual(
      expect.arrayContaining([
        ['cpu', 7.2],
        ['memory', 0.72],
      ]),
    )
    stop()
    await provider.shutdown()
    await ledger.close()
    tree[Symbol.dispose]()
  })

  it('the SCI score is (E·I + M) / R', async () => {
    const { ledger, tree } = await opened()
    const totals = await ledger.close()
    tree[Symbol.dispose]()
    const report = await buildReport(totals, {
      zone: 'WORLD',
      pue: 1.5,
      embodied: { totalGrams: 1e6, lifetimeSeconds: 1e8, share: 0.5, source: 'a data sheet' },
    })
    const sci = sciReport(report, { name: 'token', count: 1000 })
    const operational = (7.92 / 3.6e6) * 1.5 * 472.9
    const embodied = (1e6 * 0.5 * report.durationSeconds) / 1e8
    expect(sci.embodiedGrams).toBeCloseTo(embodied, 12)
    expect(sci.scores).toHaveLength(1)
    expect(sci.scores[0]?.score.grams).toBeCloseTo((operational + embodied) / 1000, 12)
    expect(sciMarkdown(sci)).toContain('| measured |')
    expect(() => sciReport(report, { name: 'token', count: 0 })).toThrow(RangeError)
  })

  it('emissions.csv is what CodeCarbon would have written, and is read back', async () => {
    const { ledger, tree } = await opened()
    const totals = await ledger.close()
    tree[Symbol.dispose]()
    const report = await buildReport(totals, { zone: 'FRA', pue: 1.2 })
    const text = codecarbonCsv(totals, report, { project: 'a "quoted", name', when: new Date('2026-01-02T03:04:05Z') })
    const [run] = readCodecarbonCsv(text)
    expect(run).toMatchObject({ runId: totals.runId, project: 'a "quoted", name', timestamp: '2026-01-02T03:04:05' })
    expect(run?.energyKilowattHours).toBeCloseTo(7.92 / 3.6e6, 15)
    expect(run?.cpuKilowattHours).toBeCloseTo(2e-6, 15)
    expect(run?.ramKilowattHours).toBeCloseTo(2e-7, 15)
    expect(run?.gpuKilowattHours).toBeUndefined()
    expect(run?.emissionsGrams).toBeCloseTo((7.92 / 3.6e6) * 1.2 * 44.2, 12)
  })

  it('reads what CodeCarbon 2 and 3 wrote, and names the line that is not theirs', () => {
    const older =
      'timestamp,project_name,run_id,duration,emissions,emissions_rate,cpu_power,gpu_power,ram_power,cpu_energy,gpu_energy,ram_energy,energy_consumed,country_name\n' +
      '2024-05-06T07:08:09,demo,1b2c,12.5,0.001,8e-05,42.5,0.0,11.7,0.0001,0,0.00004,0.00014,"Korea, Republic of"\n'
    expect(readCodecarbonCsv(older)).toEqual([
      {
        runId: '1b2c',
        project: 'demo',
        timestamp: '2024-05-06T07:08:09',
        durationSeconds: 12.5,
        energyKilowattHours: 0.00014,
        cpuKilowattHours: 0.0001,
        gpuKilowattHours: 0,
        ramKilowattHours: 0.00004,
        powerUsageEffectiveness: 1,
        emissionsGrams: 1,
        version: '',
      },
    ])
    expect(() => readCodecarbonCsv('a,b\n1,2\n')).toThrow(SwiftError)
    expect(() => readCodecarbonCsv(older.replace(',0.00014,', ',nan,'))).toThrow(/line 2/)
  })
})
