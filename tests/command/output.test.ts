import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { dataOptions, optionFlag, optionTables, trainingOptions, tunerOptions } from '@swift/core'
import { loadCausalLM, Generator } from '@swift/models'
import { device } from '@swift/tensor'
import { runSwift } from './run-swift.ts'
import { contentsOf, sftWords, writeJsonLines, writeSmallRun, type SmallRun } from './small-run.ts'

const root = mkdtempSync(join(tmpdir(), 'swift-output-'))
/** Escape sequences and carriage returns: what only a terminal understands. */
// oxlint-disable-next-line no-control-regex -- those are what is looked for
const terminalCodes = /[\u001b\r]/
let small: SmallRun
beforeAll(async () => {
  small = await writeSmallRun(root)
})
afterAll(() => rmSync(root, { recursive: true }))

async function succeed(words: readonly string[], cwd?: string): Promise<Awaited<ReturnType<typeof runSwift>>> {
  const run = await runSwift(words, cwd === undefined ? {} : { cwd })
  expect(run.code, `${words.join(' ')}\n${run.stderr}`).toBe(0)
  return run
}

describe('help', () => {
  it('of the program names every command', async () => {
    for (const words of [['--help'], ['help'], []]) {
      const { stdout } = await succeed(words)
      for (const name of ['sft', 'pt', 'plan', 'infer', 'export', 'energy', 'doctor']) {
        expect(stdout).toMatch(new RegExp(`^  ${name} +\\S`, 'm'))
      }
      expect(stdout).toContain('swift-llm')
    }
    expect((await succeed(['--version'])).stdout).toMatch(/^\d+\.\d+\.\d+\S*\n$/)
  })

  it.each(['sft', 'pt', 'plan', 'infer', 'export', 'energy', 'doctor'])(
    'of %s has usage and examples',
    async (name) => {
      const { stdout } = await succeed([name, '--help'])
      expect(stdout).toContain(`usage: swift ${name}`)
      expect(stdout).toContain('examples:\n  swift ')
      expect(stdout).toContain('--json')
      expect(Math.max(...stdout.split('\n').map((line) => line.length))).toBeLessThanOrEqual(130)
    },
  )

  it('of sft lists every option with its default', async () => {
    const text = (await succeed(['sft', '--help'])).stdout.replaceAll(/\s+/g, ' ')
    const { model, tuner, data, training } = optionTables
    for (const [name, { default: value, derived, required }] of Object.entries({
      ...model,
      ...tuner,
      ...data,
      ...training,
    })) {
      expect(text).toContain(`${optionFlag(name)} `)
      if (required === true) expect(text).toContain('(required)')
      if (derived !== undefined) expect(text).toContain(`(default: ${derived})`)
      else if (typeof value === 'number' || typeof value === 'string') expect(text).toContain(`(default: ${value})`)
    }
    expect(text).toContain(`(default: ${String(tunerOptions['loraRank']?.default)})`)
    expect(text).toContain(`(default: ${String(trainingOptions.loggingSteps.default)})`)
    expect(Object.keys(dataOptions).length).toBeGreaterThan(5)
  })
})

it('doctor tells the machine, and as JSON too', async () => {
  const [report, ...rest] = (await succeed(['doctor', '--json'])).json()
  expect(rest).toEqual([])
  const findings = report?.['findings'] as { name: string; value: string; ok: boolean }[]
  const names = findings.map(({ name }) => name)
  expect(names).toEqual(
    expect.arrayContaining(['processor', 'memory', 'kernels', 'instruction set', 'threads', 'plugins']),
  )
  expect(names.some((name) => name.startsWith('energy '))).toBe(true)
  for (const { value } of findings) expect(value).not.toMatch(/undefined|NaN|\[object/)
  expect((await succeed(['doctor'])).stdout).toContain('instruction set')
})

it('doctor says what to do about a wrong SWIFT_ISA', async () => {
  const { code, stdout } = await runSwift(['doctor'], { env: { SWIFT_ISA: 'sse9' } })
  expect(code).toBe(2)
  expect(stdout).toContain('SWIFT_ISA: instruction set sse9 is unknown; use one of portable, avx2')
  expect(stdout).toContain('Unset SWIFT_ISA')
  expect(stdout).not.toMatch(/npm run native|shapes/)
})

describe('a run that no terminal watches', () => {
  it('prints plain lines: the plan before step 1, steps, checkpoints, kWh per epoch', async () => {
    const { stdout, stderr } = await succeed(sftWords(small, join(root, 'plain'), '--num-train-epochs', '1'))
    expect(stderr).toBe('')
    expect(stdout).not.toMatch(terminalCodes)
    expect(stdout).not.toMatch(/undefined|NaN|\[object/)
    expect(stdout.indexOf('peak of')).toBeGreaterThan(0)
    expect(stdout.indexOf('peak of')).toBeLessThan(stdout.indexOf('\nstep 1/'))
    expect(stdout).toMatch(/\nstep 1\/\d+ · epoch 0\.\d+ · loss \d+\.\d{4} · /)
    expect(stdout).toMatch(/\ncheckpoint .*checkpoint-\d+ · /)
    expect(stdout).toMatch(/\nenergy epoch 0 +\S* ?kWh|\nenergy epoch 0 +[\d.]+ kWh/)
    expect(stdout).toMatch(/ (measured|modelled)/)
    expect(stdout).toMatch(/\nper token +[\d.e-]+ J\/token/)
  })

  it('prints one JSON object per line with --json', async () => {
    const run = await succeed([...sftWords(small, join(root, 'json'), '--max-steps', '3'), '--json'])
    const types = run.json().map(({ type }) => type)
    expect(types[0]).toBe('start')
    expect(types).toEqual(expect.arrayContaining(['plan', 'step', 'log', 'checkpoint', 'end', 'result']))
    expect(types.at(-1)).toBe('result')
    expect(types.filter((type) => type === 'step').length).toBe(3)
  })
})

it('plan forecasts and writes nothing', async () => {
  const output = join(root, 'planned')
  const words = ['plan', ...sftWords(small, output).slice(1)]
  const { stdout } = await succeed(words)
  for (const part of ['memory', 'steps', 'time', 'energy', 'carbon'])
    expect(stdout).toMatch(new RegExp(`^${part} +\\S`, 'm'))
  const [plan] = (await succeed([...words, '--json'])).json()
  expect(plan).toMatchObject({ type: 'plan' })
  expect(() => readFileSync(join(output, 'plan.json'))).toThrow('ENOENT')
})

describe('options in a file', () => {
  const options = {
    maxLength: 64,
    loraRank: 4,
    learningRate: 1e-3,
    gradientAccumulationSteps: 1,
    maxSteps: 6,
    packing: false,
    targetModules: ['q_proj', 'v_proj'],
    lrSchedulerType: 'linear',
    chatTemplateKwargs: { enable_thinking: false },
  }
  const flags = [
    '--max-steps',
    '6',
    '--no-packing',
    '--target-modules',
    'q_proj,v_proj',
    '--lr-scheduler-type',
    'linear',
  ]
  const nested = ['--chat-template-kwargs.enable_thinking', 'false']

  it('give the run that they give on the command line, bit for bit', async () => {
    await succeed(sftWords(small, join(root, 'flags'), ...flags, ...nested))
    const expected = contentsOf(join(root, 'flags', 'checkpoint-6'))
    const yaml = join(root, 'run.yaml')
    const lines = Object.entries({ model: small.model, dataset: [small.dataset], ...options }).map(
      ([name, value]) => `${name}: ${JSON.stringify(value)}\n`,
    )
    writeFileSync(yaml, lines.join(''))
    await succeed(['sft', yaml, '--output-dir', join(root, 'yaml')])
    expect(contentsOf(join(root, 'yaml', 'checkpoint-6'))).toEqual(expected)
    const json = join(root, 'run.json')
    writeFileSync(json, JSON.stringify({ model: small.model, dataset: small.dataset, ...options }))
    await succeed(['sft', '--config', json, '--output-dir', join(root, 'from-json')])
    expect(contentsOf(join(root, 'from-json', 'checkpoint-6'))).toEqual(expected)
  })

  it('yield to the command line', async () => {
    const yaml = join(root, 'more.yaml')
    writeFileSync(yaml, `maxSteps: 9\nloraRank: 2\noutputDir: ${join(root, 'not-here')}\n`)
    await succeed(sftWords(small, join(root, 'wins'), '--config', yaml, '--max-steps', '2'))
    expect(contentsOf(join(root, 'wins', 'checkpoint-2'))).toMatchObject({ state: { step: 2, totalSteps: 2 } })
  })
})

describe('answers', () => {
  const limit = ['--max-new-tokens', '6', '--temperature', '0']

  it('to a file of prompts are rows in their order', async () => {
    const rows = [
      { prompt: 'capital of Aru?' },
      { query: 'capital of Bena?' },
      { messages: [{ role: 'user', content: 'Hi' }] },
    ]
    const prompts = writeJsonLines(join(root, 'prompts.jsonl'), rows)
    const target = join(root, 'answers.jsonl')
    const base = ['infer', '--model', small.model, ...limit]
    const filed = await succeed([...base, '--prompts', prompts, '--output', target])
    expect(filed.stdout).toBe(`3 answers in ${target}\n`)
    expect(filed.stderr).toMatch(/tokens\/s · [\d.e-]+ J\/token/)
    const read = readFileSync(target, 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { response: string })
    expect(read.length).toBe(3)
    const printed = await succeed([...base, '--prompts', prompts])
    expect(printed.stdout).toBe(readFileSync(target, 'utf8'))
    const single = await succeed([...base, '--prompt', 'capital of Bena?'])
    expect(single.stdout).toBe(`${read[1]?.response}\n`)
    const lines = join(root, 'prompts.txt')
    writeFileSync(lines, '\uFEFFcapital of Aru?\r\n\r\ncapital of Bena?\n')
    const fromText = await succeed([...base, '--prompts', lines, '--json'])
    const answers = fromText.json().filter(({ type }) => type === 'answer')
    expect(answers.map(({ response }) => response)).toEqual([read[0]?.response, read[1]?.response])
    expect(fromText.json().at(-1)).toMatchObject({
      type: 'generation',
      joules: expect.any(Object) as object,
      requests: expect.arrayContaining([
        expect.objectContaining({ request: 0, promptTokens: expect.any(Number) as number }),
      ]) as object[],
    })
  })

  it('of a merged export are those of the adapter', async () => {
    // Rates this high change the answers, which a merge that does nothing would not show.
    const train = [
      '--learning-rate',
      '2e-2',
      '--num-train-epochs',
      '6',
      '--compute-dtype',
      'float32',
      '--lora-dropout',
      '0',
    ]
    const run = join(root, 'exported')
    await succeed([...sftWords(small, run, ...train), '--save-total-limit', '1'])
    const { step } = JSON.parse(readFileSync(join(run, 'trainer_state.json'), 'utf8')) as { step: number }
    const adapter = join(run, `checkpoint-${step}`)
    const ask = async (...from: string[]): Promise<string> =>
      (await succeed(['infer', ...from, ...limit, '--prompt', 'capital of Aru?', '--compute-dtype', 'float32'])).stdout
    const merged = join(root, 'merged')
    const exported = await succeed(['export', '--model', small.model, '--adapter', adapter, '--output-dir', merged])
    expect(exported.stdout).toBe(`wrote ${merged}\n`)
    const answer = await ask('--model', merged)
    expect(answer).toBe(await ask('--model', small.model, '--adapter', adapter))
    expect(answer).not.toBe(await ask('--model', small.model))
    using reloaded = await loadCausalLM(merged, { device: device('cpu') })
    expect((await Generator.generateAll(reloaded, [[1, 2, 3]], { maxNewTokens: 4 }))[0]?.length).toBe(4)

    const quantized = join(root, 'nf4')
    await succeed(['export', '--model', merged, '--quant-bits', '4', '--output-dir', quantized, '--json'])
    expect(JSON.parse(readFileSync(join(quantized, 'config.json'), 'utf8'))).toMatchObject({
      quantization_config: { quant_method: 'bitsandbytes', load_in_4bit: true },
    })
    expect((await ask('--model', quantized)).length).toBeGreaterThan(1)
  })
})

it('energy reports the ledger of a run, which balances', async () => {
  const output = join(root, 'energy')
  await succeed(sftWords(small, output, '--max-steps', '4'))
  const [report] = (await succeed(['energy', 'report', output, '--per', 'phase', '--json'])).json()
  expect(report).toMatchObject({ type: 'energy-report' })
  const { stdout } = await succeed(['energy', 'report', output])
  expect(stdout).toMatch(/^epoch:0 .* J \[/m)
  const [verified] = (await succeed(['energy', 'verify', output, '--json'])).json()
  expect(verified).toMatchObject({ ok: true })
})
