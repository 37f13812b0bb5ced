import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  addSplits,
  formatJoulesPerToken,
  formatNumber,
  Ledger,
  optionTables,
  RequestMeter,
  toJoules,
  type GenerateOptions,
  type RequestMeterReport,
  type SwiftModel,
} from '@swift/core'
import type { OptionTable } from '@swift/spec'
import type { Command, CommandCall } from '../arguments/command.ts'
import { printJson, printLine } from '../output/output.ts'
import { chat } from './chat.ts'
import { modelFromValues } from './model-from-values.ts'
import { openAnswers } from './open-answers.ts'
import { readPrompts } from './read-prompts.ts'

const inferOptions: OptionTable = {
  prompt: { type: 'string', description: 'Answer this and end. Without it and prompts, chat in the terminal.' },
  prompts: {
    type: 'string',
    description: 'File of prompts: one per line, or JSONL rows with prompt, query or messages.',
  },
  output: { type: 'string', derived: 'standard output', description: 'JSONL file for the answers to prompts.' },
  system: { type: 'string', description: 'First message of every chat.' },
  raw: { type: 'boolean', default: false, description: 'Continue the prompt as it is, without the chat template.' },
  seed: { type: 'integer', default: 42, minimum: 0, description: 'Seed of the sampling.' },
}

function generateOptions(values: Readonly<Record<string, unknown>>): GenerateOptions {
  const names = [...Object.keys(optionTables.generation), 'system', 'raw', 'seed']
  return Object.fromEntries(names.filter((name) => values[name] !== undefined).map((name) => [name, values[name]]))
}

async function answerOne(
  model: SwiftModel,
  prompt: string,
  options: GenerateOptions,
  { output }: CommandCall,
): Promise<string> {
  const generation = model.generate(prompt, options)
  if (!output.json) {
    for await (const piece of generation) process.stdout.write(piece)
    process.stdout.write('\n')
  }
  return generation
}

async function answerFile(
  model: SwiftModel,
  options: GenerateOptions,
  { values, output }: CommandCall,
): Promise<string[]> {
  const prompts = await readPrompts(values['prompts'] as string)
  const target = values['output'] as string | undefined
  const save = target === undefined ? undefined : await openAnswers(target)
  const answers = await model.generateBatch(prompts, options)
  const rows = answers.map((response, index) => ({ prompt: prompts[index], response }))
  if (save !== undefined) {
    await save(rows)
    if (!output.json) printLine(`${rows.length} answers in ${target}`)
  } else if (output.json) for (const row of rows) printJson({ type: 'answer', ...row })
  else for (const row of rows) printLine(JSON.stringify(row))
  return answers
}

/** One line about requests, for each class that is there. */
function requestLines({ measured, modelled }: RequestMeterReport): string[] {
  const number = (value: number | undefined): string => (value === undefined ? '–' : formatNumber(value))
  return Object.entries({ measured, modelled }).flatMap(([name, report]) => {
    if (report === undefined || report.requests.length === 0) return []
    const { joulesPerPromptToken, joulesPerNewToken, medianJoules, p95Joules, idleShare, fit } = report
    const how =
      fit === undefined
        ? 'divided by tokens: too few steps for a fit'
        : `fitted on ${fit.samples} steps, R² ${formatNumber(fit.r2)}`
    return [
      `${name}: ${number(joulesPerPromptToken)} J per prompt token, ${number(joulesPerNewToken)} J per new token; a request ${number(medianJoules)} J in the median, ${number(p95Joules)} J at p95; ${number(100 * (idleShare ?? 0))} % idle · ${how}`,
    ]
  })
}

/** Joules of each request by class, for `--json`. */
function requestRows({ measured, modelled }: RequestMeterReport): object[] {
  const rows = new Map<string, Record<string, unknown>>()
  for (const [name, report] of Object.entries({ measured, modelled })) {
    for (const { id, promptTokens, newTokens, prefillNanojoules, decodeNanojoules } of report?.requests ?? []) {
      const row = rows.get(id) ?? { request: Number(id), promptTokens, newTokens }
      row[name] = { prefillJoules: toJoules(prefillNanojoules), decodeJoules: toJoules(decodeNanojoules) }
      rows.set(id, row)
    }
  }
  return [...rows.values()]
}

/** Meters `body` and prints tokens per second, joules per token, and how the requests share them. */
async function metered(
  model: SwiftModel,
  call: CommandCall,
  body: (meter: RequestMeter) => Promise<readonly string[]>,
): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'swift-infer-'))
  try {
    await using ledger = await Ledger.open(folder)
    const start = performance.now()
    const phase = ledger.phase('answer', { stream: model.device })
    using meter = new RequestMeter(ledger, { path: 'answer/generate', stream: model.device })
    const answers = await body(meter)
    meter.end()
    phase.end()
    await model.device.flush()
    const seconds = (performance.now() - start) / 1000
    await ledger.settle()
    // Closed, so that the division over requests is final.
    await ledger.close()
    const requests = await meter.report()
    const { active, idle } = await ledger.settle(phase)
    const energy = addSplits(active, idle)
    const tokens = answers.reduce((sum, text) => sum + model.tokenizer.encode(text).ids.length, 0)
    if (call.output.json) {
      const joules = {
        measured: energy.measured && toJoules(energy.measured.nanojoules),
        modelled: energy.modelled && toJoules(energy.modelled.nanojoules),
      }
      printJson({
        type: 'generation',
        tokens,
        seconds,
        joules,
        requests: requestRows(requests),
        ...(call.values['prompt'] === undefined ? {} : { text: answers[0] }),
      })
    } else if (tokens > 0) {
      process.stderr.write(
        `${tokens} tokens in ${seconds.toFixed(2)} s · ${(tokens / seconds).toFixed(1)} tokens/s · ${formatJoulesPerToken(energy, tokens)}\n`,
      )
      for (const line of requestLines(requests)) process.stderr.write(`${line}\n`)
    }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** `swift infer`. */
export const infer: Command = {
  name: 'infer',
  summary: 'chat with a model in the terminal, or answer a prompt or a file of prompts',
  usage: '--model FOLDER [--adapter FOLDER] [options]',
  examples: [
    'swift infer --model models/qwen3 --adapter runs/first/checkpoint-100',
    'swift infer --model models/qwen3 --prompt "What is a joule?" --max-new-tokens 64',
    'swift infer --model models/qwen3 --prompts questions.jsonl --output answers.jsonl',
  ],
  options: () =>
    Promise.resolve({ infer: inferOptions, generation: optionTables.generation, model: optionTables.model }),
  run: async (call) => {
    const { values } = call
    const model = await modelFromValues(values)
    const options = generateOptions(values)
    try {
      if (values['prompt'] !== undefined) {
        await metered(model, call, async (meter) => [
          await answerOne(model, values['prompt'] as string, { ...options, meter }, call),
        ])
      } else if (values['prompts'] !== undefined) {
        await metered(model, call, (meter) => answerFile(model, { ...options, meter }, call))
      } else await chat(model, options, call.output)
      return 0
    } finally {
      model.dispose()
    }
  },
}
