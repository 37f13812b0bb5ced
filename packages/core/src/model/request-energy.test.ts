import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Ledger, RequestMeter, type RequestClassReport } from '@swift/energy'
import { FakePowercapTree } from '@swift/testing'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { capitals, writeTextModel } from '../testing/text-model.ts'
import { SwiftModel } from './swift-model.ts'

let root: string
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'swift-request-energy-'))
  await writeTextModel(join(root, 'model'))
})
afterAll(() => rm(root, { recursive: true }))

it('divides a batch over its prompts: requests, shared and idle are the accounts of the ledger, to the nanojoule', async () => {
  using tree = new FakePowercapTree([{ entry: 'intel-rapl:0', name: 'package-0' }])
  const ledger = await Ledger.open(join(root, 'energy'), {
    powercapRoot: tree.root,
    samplePeriodMs: 20,
    idle: { seconds: 0 },
    exclusive: true,
  })
  using feeder = new DisposableStack()
  const timer = setInterval(() => tree.add('intel-rapl:0', 123_456_789n), 3)
  feeder.defer(() => clearInterval(timer))
  using model = await SwiftModel.fromPretrained(join(root, 'model'), { computeDtype: 'float32' })
  const prompts = [...capitals.map(([question]) => question), 'short', 'long '.repeat(15)]
  using meter = new RequestMeter(ledger, { stream: model.device })
  const options = { maxNewTokens: 40, temperature: 1 }
  const answers = await model.generateBatch(prompts, { ...options, meter })
  meter.end()
  await model.device.flush()
  clearInterval(timer)
  // Metering changes nothing.
  expect(await model.generateBatch(prompts, options)).toEqual(answers)
  const early = await meter.report()
  expect(early.measured?.requests.length).toBe(prompts.length)
  // The division over phases is final when the ledger is closed.
  const { entries } = await ledger.close()
  const report = await meter.report()
  for (const energyClass of ['measured', 'modelled'] as const) {
    const one = report[energyClass] as RequestClassReport
    const booked = entries
      .filter((entry) => entry.energyClass === energyClass && entry.path.split('/')[0] === 'generate')
      .reduce((sum, { nanojoules }) => sum + nanojoules, 0n)
    const requests = one.requests.reduce((sum, part) => sum + part.prefillNanojoules + part.decodeNanojoules, 0n)
    expect(requests + one.sharedNanojoules + one.idleNanojoules).toBe(booked)
    expect(one.totalNanojoules).toBe(booked)
    expect(one.requests.map(({ id }) => id).sort()).toEqual(prompts.map((_, index) => String(index)))
  }
  const [measured, tokens] = [
    report.measured as RequestClassReport,
    model.tokenizer.encode('long '.repeat(15)).ids.length,
  ]
  expect(measured.totalNanojoules).toBeGreaterThan(0n)
  const long = measured.requests.find(({ id }) => id === '7')
  expect(long?.promptTokens).toBeGreaterThanOrEqual(tokens)
  // The first token of an answer is drawn from its prompt.
  for (const { newTokens } of measured.requests) expect(newTokens).toBeLessThan(40)
  expect(measured.fit === undefined).toBe(Math.max(...measured.requests.map(({ newTokens }) => newTokens)) + 1 < 20)
})
