import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { expectRefusal } from './expect-refusal.ts'
import { runSwift } from './run-swift.ts'
import { checkpointsOf, contentsOf, sftWords, writeJsonLines, writeSmallRun, type SmallRun } from './small-run.ts'

const root = mkdtempSync(join(tmpdir(), 'swift-errors-'))
let small: SmallRun
beforeAll(async () => {
  small = await writeSmallRun(root)
})
afterAll(() => rmSync(root, { recursive: true }))

/** A copy of the model with one of its JSON files changed; undefined removes the file. */
function modelWith(name: string, file: string, content: string | undefined): SmallRun {
  const model = join(root, name)
  cpSync(small.model, model, { recursive: true })
  rmSync(join(model, file))
  if (content !== undefined) writeFileSync(join(model, file), content)
  return { ...small, model }
}

function withConfig(name: string, changes: object): SmallRun {
  const config = JSON.parse(readFileSync(join(small.model, 'config.json'), 'utf8')) as object
  return modelWith(name, 'config.json', JSON.stringify({ ...config, ...changes }))
}

const row = (index: number, answer = 'Belo'): object => ({ query: `question ${index}?`, response: answer })

describe('a model that cannot be used', () => {
  it('because its folder is missing', async () => {
    const output = join(root, 'no-model')
    const refusal = await expectRefusal(
      sftWords({ ...small, model: join(root, 'nowhere') }, output),
      'ERR_MODEL_MISSING',
    )
    expect(refusal.asked).toContain(join(root, 'nowhere'))
    expect(refusal.remedy).toContain('config.json')
    expect(existsSync(output)).toBe(false)
  })

  it('because its architecture is unknown', async () => {
    const other = withConfig('gpt2', { architectures: ['GPT2LMHeadModel'] })
    const refusal = await expectRefusal(sftWords(other, join(root, 'o')), 'ERR_ARCHITECTURE_UNKNOWN')
    expect(refusal.asked).toContain('GPT2LMHeadModel')
    expect(refusal.remedy).toContain('Qwen3ForCausalLM')
  })

  it('because config and weights differ', async () => {
    const wider = withConfig('wider', { intermediate_size: 160 })
    const shape = await expectRefusal(sftWords(wider, join(root, 'o')), 'ERR_WEIGHTS_MISMATCH')
    expect(shape.found).toContain('model.layers.0.mlp.gate_proj.weight is [128, 64] instead of [160, 64]')
    const deeper = withConfig('deeper', { num_hidden_layers: 3 })
    const missing = await expectRefusal(sftWords(deeper, join(root, 'o')), 'ERR_WEIGHTS_MISMATCH')
    expect(missing.found).toContain('missing: model.layers.2.')
    const shallower = withConfig('shallower', { num_hidden_layers: 1 })
    const unexpected = await expectRefusal(sftWords(shallower, join(root, 'o')), 'ERR_WEIGHTS_MISMATCH')
    expect(unexpected.found).toContain('unexpected: model.layers.1.')
  })

  const configs: Readonly<Record<string, string | object>> = {
    'is not JSON': '{"architectures": [',
    'is null': 'null',
    'is a list': '[]',
    'has no width': { hidden_size: null },
    'has a width of text': { hidden_size: '64' },
    'has more layers than any model': { num_hidden_layers: 2e9 },
    'has an odd extent of a head': { head_dim: 15 },
    'has heads that do not divide': { num_attention_heads: 5, num_key_value_heads: 2 },
  }
  it.each(Object.entries(configs))('because its config.json %s', async (name, content) => {
    const folder = name.replaceAll(' ', '-')
    const changed =
      typeof content === 'string' ? modelWith(folder, 'config.json', content) : withConfig(folder, content)
    await expectRefusal(sftWords(changed, join(root, 'o')), 'ERR_CONFIG_INVALID')
  })

  it('because a file of its text is missing or broken', async () => {
    const none = modelWith('no-tokenizer', 'tokenizer.json', undefined)
    await expectRefusal(sftWords(none, join(root, 'no-tokenizer-run')), 'ERR_TOKENIZER_MISSING')
    const broken = modelWith('broken-tokenizer', 'tokenizer.json', '{"version": "1.0", "model": 5}')
    await expectRefusal(sftWords(broken, join(root, 'o')), 'ERR_TOKENIZER_LOAD')
    const config = modelWith('broken-tokenizer-config', 'tokenizer_config.json', '{')
    await expectRefusal(sftWords(config, join(root, 'o')), 'ERR_MODEL_FILE_INVALID')
  })

  it('because the adapter is missing', async () => {
    const words = ['infer', '--model', small.model, '--adapter', join(root, 'nowhere'), '--prompt', 'x']
    await expectRefusal(words, 'ERR_ADAPTER_MISSING')
  })
})

describe('rows that cannot be used', () => {
  it('are counted, listed and left out while they are few', async () => {
    const rows = Array.from({ length: 99 }, (_, index) => row(index))
    const dataset = writeJsonLines(join(root, 'one-bad.jsonl'), [
      ...rows.slice(0, 40),
      '{"query": "half',
      ...rows.slice(40),
    ])
    const output = join(root, 'one-bad')
    const run = await runSwift(sftWords({ ...small, dataset }, output, '--max-steps', '2'))
    expect(run.code, run.stderr).toBe(0)
    expect(run.stdout).toContain(
      'note NOTE_ROWS_REJECTED: 1 of 100 rows cannot be used (1 malformed json); they are in',
    )
    const listed = readFileSync(join(output, 'rejected_rows.jsonl'), 'utf8').trim().split('\n')
    expect(listed.map((line) => JSON.parse(line) as object)).toMatchObject([
      { file: dataset, line: 41, reason: 'malformed_json', preview: '{"query": "half' },
    ])
  })

  it('stop the run when they are many, and are listed all the same', async () => {
    const dataset = writeJsonLines(join(root, 'many-bad.jsonl'), [row(0), '{"query": "half', row(1), '[1, 2]'])
    const output = join(root, 'many-bad')
    const refusal = await expectRefusal(sftWords({ ...small, dataset }, output), 'ERR_DATASET_TOO_MANY_REJECTED')
    expect(refusal.found).toContain(`${dataset}:2`)
    expect(refusal.remedy).toContain('maxRejectedFraction')
    expect(refusal.remedy).toContain(join(output, 'rejected_rows.jsonl'))
    expect(readFileSync(join(output, 'rejected_rows.jsonl'), 'utf8').trim().split('\n').length).toBe(2)
    const words = sftWords({ ...small, dataset }, output, '--max-rejected-fraction', '0.5', '--max-steps', '1')
    const allowed = await runSwift(words)
    expect(allowed.code, allowed.stderr).toBe(0)
  })

  it('are all there is in an empty dataset', async () => {
    const empty = writeJsonLines(join(root, 'empty.jsonl'), [])
    const refusal = await expectRefusal(
      sftWords({ ...small, dataset: empty }, join(root, 'empty')),
      'ERR_DATASET_EMPTY',
    )
    expect(refusal.asked).toContain(empty)
    const blank = writeJsonLines(join(root, 'blank.jsonl'), ['', '  ', ''])
    await expectRefusal(sftWords({ ...small, dataset: blank }, join(root, 'empty')), 'ERR_DATASET_EMPTY')
    const absent = join(root, 'absent.jsonl')
    await expectRefusal(sftWords({ ...small, dataset: absent }, join(root, 'empty')), 'ERR_DATASET_NOT_FOUND')
  })

  it('because they are longer than the longest sequence', async () => {
    const dataset = writeJsonLines(join(root, 'long.jsonl'), [row(0), row(1, 'long '.repeat(200)), row(2)])
    const output = join(root, 'long')
    const refusal = await expectRefusal(sftWords({ ...small, dataset }, output), 'ERR_DATASET_TOO_MANY_REJECTED')
    expect(refusal.found).toMatch(/1 rows? cannot be used \(1 too long\)/)
    expect(refusal.remedy).toContain('Raise maxLength or choose a truncation')
    const cut = await runSwift(
      sftWords({ ...small, dataset }, output, '--truncation-strategy', 'right', '--max-steps', '1'),
    )
    expect(cut.code, cut.stderr).toBe(0)
  })
})

describe('an option that cannot be used', () => {
  const train = (): string[] => sftWords(small, join(root, 'options'))

  it('because there is none of that name, with the one that was meant', async () => {
    const refusal = await expectRefusal([...train(), '--learning-rat', '1e-4'], 'ERR_OPTION_UNKNOWN')
    expect(refusal.remedy).toBe('Did you mean learningRate?')
    const file = join(root, 'misspelt.yaml')
    writeFileSync(file, 'loraRnak: 8\n')
    const inFile = await expectRefusal([...train(), '--config', file], 'ERR_OPTION_UNKNOWN')
    expect(inFile.remedy).toBe('Did you mean loraRank?')
    const command = await expectRefusal(['sftt'], 'ERR_COMMAND_UNKNOWN')
    expect(command.remedy).toBe('Did you mean swift sft?')
    expect(existsSync(join(root, 'options'))).toBe(false)
  })

  it('because of its value', async () => {
    await expectRefusal([...train(), '--lora-rank', 'many'], 'ERR_OPTION_INVALID')
    await expectRefusal([...train(), '--lora-rank', '-1'], 'ERR_OPTION_INVALID')
    const choice = await expectRefusal([...train(), '--lr-scheduler-type', 'cosin'], 'ERR_OPTION_INVALID')
    expect(choice.found).toContain('did you mean cosine?')
    await expectRefusal(['sft', '--model', small.model], 'ERR_OPTION_REQUIRED')
    await expectRefusal(['infer', '--prompt', 'x'], 'ERR_OPTION_REQUIRED')
    await expectRefusal([...train(), 'stray'], 'ERR_ARGUMENT_UNEXPECTED')
    const broken = join(root, 'broken.yaml')
    writeFileSync(broken, 'model: [\n')
    await expectRefusal(['sft', broken], 'ERR_CONFIG_FILE')
    await expectRefusal(['sft', '--config', join(root, 'nowhere.yaml')], 'ERR_CONFIG_FILE')
  })
})

describe('a run that cannot be', () => {
  it('because its plan does not fit, with what would', async () => {
    const output = join(root, 'memory')
    const refusal = await expectRefusal(sftWords(small, output, '--memory-limit', '500000'), 'ERR_PLAN_MEMORY')
    expect(refusal.found).toMatch(/KiB|MiB|bytes/)
    expect(refusal.remedy.length).toBeGreaterThan(10)
    expect(checkpointsOf(output)).toEqual([])
    await expectRefusal(['plan', ...sftWords(small, output, '--memory-limit', '500000').slice(1)], 'ERR_PLAN_MEMORY')
  })

  it('because its folder holds another, which stays as it is', async () => {
    const output = join(root, 'taken')
    expect((await runSwift(sftWords(small, output, '--max-steps', '2'))).code).toBe(0)
    const before = contentsOf(join(output, 'checkpoint-2'))
    const refusal = await expectRefusal(sftWords(small, output), 'ERR_RUN_EXISTS')
    expect(refusal.remedy).toContain('resumeFromCheckpoint')
    const resume = ['--resume-from-checkpoint', 'auto', '--max-steps', '4']
    await expectRefusal(sftWords(small, output, ...resume, '--seed', '7'), 'ERR_RESUME_MISMATCH')
    expect(contentsOf(join(output, 'checkpoint-2'))).toEqual(before)
    const absent = ['--resume-from-checkpoint', join(root, 'nowhere')]
    await expectRefusal(sftWords(small, output, ...absent), 'ERR_CHECKPOINT_MISSING')
  })

  it('because its folder cannot be made', async () => {
    writeFileSync(join(root, 'a-file'), '')
    await expectRefusal(sftWords(small, join(root, 'a-file', 'run')), 'ERR_FILE_WRITE')
  })
})

describe('an export or an answer that cannot be written', () => {
  it('because something is there already', async () => {
    const words = ['export', '--model', small.model, '--output-dir', small.model]
    const refusal = await expectRefusal(words, 'ERR_OUTPUT_EXISTS')
    expect(refusal.asked).toContain(small.model)
    expect(existsSync(join(small.model, 'tokenizer.json'))).toBe(true)
  })

  it('because its folder is missing', async () => {
    const prompts = join(root, 'prompts.txt')
    writeFileSync(prompts, 'capital of Aru?\n')
    const words = ['infer', '--model', small.model, '--prompts', prompts, '--max-new-tokens', '2']
    await expectRefusal([...words, '--output', join(root, 'nowhere', 'answers.jsonl')], 'ERR_FILE_WRITE')
  })

  it('because the prompts are missing or broken', async () => {
    const words = ['infer', '--model', small.model, '--prompts']
    await expectRefusal([...words, join(root, 'nowhere.txt')], 'ERR_FILE_OPEN')
    for (const line of ['{', 'null', '5', '{"messages": "text"}', '{"messages": [5]}']) {
      const refusal = await expectRefusal([...words, writeJsonLines(join(root, 'p.jsonl'), [line])], 'ERR_PROMPT')
      expect(refusal.asked).toContain('p.jsonl:1')
    }
  })
})

it('is one JSON line with --json, and the code alone decides', async () => {
  const run = await runSwift([...sftWords({ ...small, model: join(root, 'nowhere') }, join(root, 'o')), '--json'])
  expect(run.code).toBe(2)
  expect(run.stderr).toBe('')
  const [error, ...rest] = run.json()
  expect(rest).toEqual([])
  expect(error).toMatchObject({ type: 'error', code: 'ERR_MODEL_MISSING' })
  for (const part of ['asked', 'found', 'remedy']) expect(error?.[part]).toEqual(expect.stringMatching(/.{10,}/))
})
