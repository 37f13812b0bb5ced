import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  createBatchPlan,
  fromRow,
  ignoredLabel,
  prepareDataset,
  readRows,
  type DatasetNote,
  type PrepareOptions,
} from '@swift/data'
import type { ChatMessage } from '@swift/spec'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { smallTemplate, smallTokenizer } from './small-tokenizer.ts'

const tokenizer = smallTokenizer()
let folder = ''

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'swift-data-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

function write(name: string, content: string | Uint8Array): string {
  const path = join(folder, name)
  writeFileSync(path, content)
  return path
}

const jsonl = (rows: readonly unknown[]): string => rows.map((row) => JSON.stringify(row)).join('\n')
const chat = (...turns: readonly [ChatMessage['role'], string][]): { messages: object[] } => ({
  messages: turns.map(([role, content]) => ({ role, content })),
})

function prepare(sources: readonly string[], options: Partial<PrepareOptions> = {}): ReturnType<typeof prepareDataset> {
  return prepareDataset({
    sources,
    tokenizer,
    chatTemplate: smallTemplate,
    maxLength: 128,
    maxRejectedFraction: 1,
    ...options,
  })
}

/** The text that the labels of a row teach. */
function taught({ train }: Awaited<ReturnType<typeof prepare>>, row = 0): string {
  const { ids, trained } = train.sequence(row)
  return tokenizer.decode([...ids].filter((_, index) => trained[index] === 1))
}

const twoTurns = chat(
  ['system', 'Be brief.'],
  ['user', 'One?'],
  ['assistant', 'Uno.'],
  ['user', 'Two?'],
  ['assistant', 'Dos.'],
)

describe('loss masks', () => {
  it('teach every assistant turn with its end token', async () => {
    const path = write('masks.jsonl', jsonl([twoTurns]))
    expect(taught(await prepare([path]))).toBe('Uno.<|im_end|>Dos.<|im_end|>')
  })

  it('teach the last round alone, or everything', async () => {
    const path = write('masks-last.jsonl', jsonl([twoTurns]))
    expect(taught(await prepare([path], { lossStrategy: 'last' }))).toBe('Dos.<|im_end|>')
    const all = await prepare([path], { lossStrategy: 'all' })
    expect(all.train.trainedTokenCount).toBe(all.train.tokenCount - 1)
  })

  it('follow a turn’s own word', async () => {
    const row = {
      messages: [
        ...twoTurns.messages.slice(0, 2),
        { role: 'assistant', content: 'Uno.', loss: false },
        ...twoTurns.messages.slice(3),
      ],
    }
    expect(taught(await prepare([write('masks-own.jsonl', jsonl([row]))]))).toBe('Dos.<|im_end|>')
  })
})

describe('row formats', () => {
  const shapes: Readonly<Record<string, { readonly row: object; readonly format: Parameters<typeof fromRow>[1] }>> = {
    messages: { row: twoTurns, format: 'messages' },
    query: { row: { query: 'Q', response: 'A', system: 'S', history: [['q0', 'a0']] }, format: 'query-response' },
    alpaca: { row: { instruction: 'Do', input: 'this', output: 'done' }, format: 'alpaca' },
    sharegpt: {
      row: {
        conversations: [
          { from: 'human', value: 'Q' },
          { from: 'gpt', value: 'A' },
        ],
      },
      format: 'sharegpt',
    },
    text: { row: { text: 'a document' }, format: 'text' },
  }

  it.each(Object.entries(shapes))('%s round-trips', async (name, { row, format }) => {
    const { rows } = await readRows({ sources: [write(`format-${name}.jsonl`, jsonl([row]))] })
    expect(rows.length).toBe(1)
    const written = fromRow(rows[0] as (typeof rows)[0], format)
    const again = await readRows({ sources: [write(`format-${name}-2.jsonl`, jsonl([written]))] })
    expect(again.rows[0]?.messages).toEqual(rows[0]?.messages)
  })
})

describe('rows that cannot be used', () => {
  const hostile = [
    '{"messages": [',
    '[]',
    'null',
    JSON.stringify({ unknown: 1 }),
    JSON.stringify({ messages: [{ role: 'user', content: 5 }] }),
    JSON.stringify(chat(['user', 'no answer'])),
    JSON.stringify(chat(['user', 'q'], ['assistant', '  '])),
    JSON.stringify(chat(['user', 'q'], ['assistant', 'long '.repeat(200)])),
  ]

  it('are counted by reason, listed in a file and named by line', async () => {
    const runFolder = join(folder, 'run')
    const path = write('hostile.jsonl', `\uFEFF${JSON.stringify(twoTurns)}\r\n${hostile.join('\r\n')}\r\n`)
    const notes: DatasetNote[] = []
    const { train, report } = await prepare([path], { runFolder, onNote: (note) => notes.push(note) })
    expect(train.sequenceCount).toBe(1)
    expect(report.rejectedCount).toBe(hostile.length)
    expect(report.rejectedByReason).toMatchObject({
      malformed_json: 1,
      not_an_object: 2,
      unknown_format: 1,
      too_long: 1,
    })
    expect(notes.map(({ code }) => code)).toContain('NOTE_ROWS_REJECTED')
    const listed = readFileSync(join(runFolder, 'rejected_rows.jsonl'), 'utf8').trim().split('\n')
    expect(listed.map((line) => (JSON.parse(line) as { line: number }).line)).toEqual([2, 3, 4, 5, 6, 7, 8, 9])
  })

  it('stop the run above the allowed fraction', async () => {
    const path = write('mostly-bad.jsonl', [JSON.stringify(twoTurns), '{'].join('\n'))
    await expect(prepare([path], { maxRejectedFraction: 0.01 })).rejects.toMatchObject({
      code: 'ERR_DATASET_TOO_MANY_REJECTED',
    })
  })

  it('leave an empty dataset, which is refused', async () => {
    await expect(prepare([write('empty.jsonl', '')])).rejects.toMatchObject({ code: 'ERR_DATASET_EMPTY' })
    await expect(prepare([join(folder, 'absent.jsonl')])).rejects.toMatchObject({ code: 'ERR_DATASET_NOT_FOUND' })
  })

  it('name invalid UTF-8', async () => {
    const bytes = Buffer.concat([
      Buffer.from(`${JSON.stringify(twoTurns)}\n{"text": "`),
      Buffer.from([0xff, 0xfe]),
      Buffer.from('"}\n'),
    ])
    expect((await prepare([write('utf8.jsonl', bytes)])).report.rejectedByReason).toEqual({ invalid_utf8: 1 })
  })
})

describe('truncation', () => {
  const long = chat(['user', 'q'], ['assistant', 'word '.repeat(300)])
  const path = (): string => write('long.jsonl', jsonl([long]))

  it.each(['left', 'right'] as const)('%s keeps maxLength tokens', async (truncation) => {
    const { train } = await prepare([path()], { truncation })
    expect(train.length(0)).toBe(128)
    expect(train.sequence(0).trained[0]).toBe(0)
  })

  it('split loses no token', async () => {
    const whole = await prepare([path()], { maxLength: 100_000 })
    const { train } = await prepare([path()], { truncation: 'split' })
    expect(train.tokenCount).toBe(whole.train.tokenCount)
    expect(train.sequenceCount).toBe(Math.ceil(whole.train.tokenCount / 128))
  })
})

describe('batches', () => {
  const rows = Array.from({ length: 60 }, (_, index) =>
    chat(['user', 'q'.repeat(1 + (index % 7))], ['assistant', 'w '.repeat(1 + ((index * 13) % 40))]),
  )

  it('pack every row once per epoch, in bins that fit, whatever the seed', async () => {
    const { train } = await prepare([write('pack.jsonl', jsonl(rows))])
    for (const seed of [1, 2, 3]) {
      const plan = createBatchPlan(train, { maxLength: 128, seed })
      const seen: number[] = []
      for (let batchIndex = 0; batchIndex < plan.batchesPerEpoch; batchIndex++) {
        const batch = plan.batch({ epoch: 0, batchIndex })
        expect(batch.tokens).toBeLessThanOrEqual(128)
        expect(plan.describe({ epoch: 0, batchIndex })).toMatchObject({
          tokens: batch.tokens,
          trainedTokens: batch.trainedTokens,
        })
        seen.push(...batch.rowIds)
        for (let sequence = 0; sequence + 1 < batch.cuSeqlens.length; sequence++) {
          expect(batch.positions[batch.cuSeqlens[sequence] as number]).toBe(0)
          expect(batch.labels[(batch.cuSeqlens[sequence + 1] as number) - 1]).toBe(ignoredLabel)
        }
      }
      expect(seen.toSorted((a, b) => a - b)).toEqual(rows.map((_, index) => index))
      expect(plan.packingEfficiency).toBeGreaterThan(0.85)
    }
  })

  it('resume from any position with the very same batches', async () => {
    const { train } = await prepare([write('resume.jsonl', jsonl(rows))])
    const all = createBatchPlan(train, { maxLength: 128, batchSize: 2 }).iterate()
    const taken = Array.from(
      { length: 25 },
      () => (all[Symbol.iterator]().next().value as { batch: { inputIds: Int32Array } }).batch,
    )
    const from = createBatchPlan(train, { maxLength: 128, batchSize: 2 })
    let position = { epoch: 0, batchIndex: 0 }
    for (const batch of taken) {
      expect(from.batch(position).inputIds).toEqual(batch.inputIds)
      position = from.advance(position)
    }
  })

  it('come in another order in every epoch', async () => {
    const { train } = await prepare([write('order.jsonl', jsonl(rows))])
    const plan = createBatchPlan(train, { maxLength: 128 })
    const order = (epoch: number): string =>
      Array.from({ length: plan.batchesPerEpoch }, (_, batchIndex) =>
        plan.batch({ epoch, batchIndex }).rowIds.join(),
      ).join(';')
    expect(order(0)).not.toBe(order(1))
    expect(order(1)).toBe(order(1))
  })
})

describe('the token cache', () => {
  it('is used again, noticed when damaged, and keyed by what decides the tokens', async () => {
    const cacheFolder = join(folder, 'cache')
    const path = write('cached.jsonl', jsonl([twoTurns, twoTurns]))
    const notes: DatasetNote['code'][] = []
    const options: Partial<PrepareOptions> = { cacheFolder, onNote: ({ code }) => notes.push(code) }
    const first = await prepare([path], options)
    expect(first.report.fromCache).toBe(false)
    const second = await prepare([path], options)
    expect(second.report.fromCache).toBe(true)
    expect(second.train.sequence(1)).toEqual(first.train.sequence(1))
    expect((await prepare([path], { ...options, maxLength: 127 })).report.fromCache).toBe(false)
    const { readdirSync } = await import('node:fs')
    for (const name of readdirSync(cacheFolder)) {
      const file = join(cacheFolder, name)
      const bytes = readFileSync(file)
      bytes[bytes.length - 40] = (bytes.at(-40) as number) ^ 1
      writeFileSync(file, bytes)
    }
    const rebuilt = await prepare([path], options)
    expect(rebuilt.report.fromCache).toBe(false)
    expect(rebuilt.train.sequence(0)).toEqual(first.train.sequence(0))
    expect(notes).toContain('NOTE_CACHE_USED')
    expect(notes).toContain('NOTE_CACHE_REBUILT')
  })
})

it('holds an evaluation split apart, the same for the same seed', async () => {
  const rows = Array.from({ length: 50 }, (_, index) => chat(['user', `q${index}`], ['assistant', `a${index}`]))
  const path = write('split.jsonl', jsonl(rows))
  const made = await prepare([path], { splitDatasetRatio: 0.2 })
  const again = await prepare([path], { splitDatasetRatio: 0.2 })
  expect([made.train.sequenceCount, made.evaluation?.sequenceCount]).toEqual([40, 10])
  expect(again.evaluation?.sequence(3)).toEqual(made.evaluation?.sequence(3))
  const lines = (set: typeof made.train): (number | undefined)[] =>
    Array.from({ length: set.sequenceCount }, (_, index) => set.origin(index).line)
  const held = new Set(lines(made.evaluation as typeof made.train))
  expect(lines(made.train).filter((line) => held.has(line))).toEqual([])
})
