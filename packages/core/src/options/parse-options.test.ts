import { describe, expect, it } from 'vitest'
import { SwiftError } from '@swift/spec'
import { nearestName } from './nearest-name.ts'
import { optionTables } from './option-tables.ts'
import { parseOptions } from './parse-options.ts'
import { optionFlag, readOptionText } from './read-option-text.ts'
import { TrainerArguments } from './trainer-arguments.ts'
import type { TrainerOptions } from './trainer-options.ts'

function caught(body: () => unknown): SwiftError {
  try {
    body()
  } catch (error) {
    if (SwiftError.isInstance(error)) return error
    throw error
  }
  throw new Error('nothing was thrown')
}

describe('option tables', () => {
  const entries = Object.values(optionTables).flatMap((table) => Object.entries(table))

  it('have under 60 options, each name once', () => {
    const names = entries.map(([name]) => name)
    expect(new Set(names).size).toBe(names.length)
    expect(names.length).toBeLessThan(60)
  })

  it('describe every option and hold their own defaults', () => {
    expect(entries.filter(([, { description }]) => !description.endsWith('.'))).toEqual([])
    for (const [name, definition] of entries.filter(([, { default: value }]) => value !== undefined)) {
      expect(parseOptions('t', { [name]: definition }, { [name]: definition.default })).toEqual({
        [name]: definition.default,
      })
    }
    const silent = entries.filter(
      ([, { default: value, derived, type }]) => value === undefined && derived === undefined && type === 'boolean',
    )
    expect(silent).toEqual([])
  })
})

describe('parseOptions', () => {
  it('suggests the nearest name', () => {
    const error = caught(() => new TrainerArguments({ learningrate: 1 } as unknown as TrainerOptions))
    expect(error.code).toBe('ERR_OPTION_UNKNOWN')
    expect(error.message).toContain('Did you mean learningRate?')
    expect(nearestName('learnig-rate', Object.keys(optionTables.training))).toBe('learningRate')
    expect(nearestName('lora_rank', Object.keys(optionTables.tuner))).toBe('loraRank')
    expect(nearestName('grad_accumulation_steps', Object.keys(optionTables.training))).toBe('gradientAccumulationSteps')
    expect(nearestName('xyzzy', Object.keys(optionTables.training))).toBeUndefined()
  })

  it.each([
    [{ learningRate: '1e-4' }, 'not a finite number'],
    [{ learningRate: Number.NaN }, 'not a finite number'],
    [{ learningRate: -1 }, 'too small'],
    [{ maxSteps: 1.5 }, 'not a whole number'],
    [{ lrSchedulerType: 'cosin' }, 'did you mean cosine?'],
    [{ recompute: 'some' }, 'allowed values'],
    [{ maxSteps: null }, 'null'],
  ])('refuses %j', (options, reason) => {
    const error = caught(() => new TrainerArguments(options as unknown as TrainerOptions))
    expect(error.code).toBe('ERR_OPTION_INVALID')
    expect(error.message).toContain(reason)
  })

  it('requires what is required', () => {
    expect(caught(() => parseOptions('t', optionTables.model, {})).code).toBe('ERR_OPTION_REQUIRED')
  })

  it('takes one string for a list', () => {
    expect(parseOptions('t', optionTables.data, { dataset: 'a.jsonl' })['dataset']).toEqual(['a.jsonl'])
  })
})

describe('TrainerArguments', () => {
  it('fills in the defaults of the table', () => {
    const args = new TrainerArguments()
    expect(args).toMatchObject({
      weightDecay: 0.1,
      adamBeta2: 0.95,
      lrSchedulerType: 'cosine',
      seed: 42,
      loggingSteps: 5,
    })
    expect(args.learningRate).toBeUndefined()
  })

  it('accepts sizes of 1 and refuses larger ones by the name of the plugin', () => {
    expect(
      () =>
        new TrainerArguments({
          useFlashAttention: true,
          sequenceParallelSize: 1,
          parallel: { tensorModelParallelSize: 1 },
        }),
    ).not.toThrow()
    const sequence = caught(() => new TrainerArguments({ sequenceParallelSize: 4 }))
    expect([sequence.code, sequence.details['plugin']]).toEqual([
      'ERR_PLUGIN_REQUIREMENT',
      '@swift/plugin-sequence-parallel',
    ])
    const tensor = caught(() => new TrainerArguments({ parallel: { tensorModelParallelSize: 4 } }))
    expect([tensor.code, tensor.details['plugin']]).toEqual(['ERR_PLUGIN_REQUIREMENT', '@swift/plugin-megatron'])
    expect(caught(() => new TrainerArguments({ parallel: { tensorSize: 1 } as object })).code).toBe(
      'ERR_OPTION_UNKNOWN',
    )
    expect(caught(() => new TrainerArguments({ useFlashAttention: false })).code).toBe('ERR_OPTION_INVALID')
  })

  it('refuses two ways of saying one thing', () => {
    expect(caught(() => new TrainerArguments({ tokensPerStep: 100, gradientAccumulationSteps: 2 })).code).toBe(
      'ERR_OPTION_INVALID',
    )
  })
})

describe('option text', () => {
  it('spells flags one way', () => {
    expect(['learningRate', 'loadIn4bit', 'bnb4bitQuantType', 'adamBeta1', 'topK', 'seed'].map(optionFlag)).toEqual([
      '--learning-rate',
      '--load-in-4bit',
      '--bnb-4bit-quant-type',
      '--adam-beta1',
      '--top-k',
      '--seed',
    ])
    const all = Object.values(optionTables).flatMap((table) => Object.keys(table).map(optionFlag))
    expect(new Set(all).size).toBe(all.length)
  })

  it('reads typed values', () => {
    const { training, tuner, data } = optionTables
    const read = (table: typeof training, name: string, text: string): unknown =>
      readOptionText(name, text, table[name] as never)
    expect(read(training, 'learningRate', '1e-4')).toBe(1e-4)
    expect(read(training, 'maxSteps', '1_000')).toBe(1000)
    expect(read(tuner, 'useRslora', 'true')).toBe(true)
    expect(read(tuner, 'targetModules', 'q_proj, v_proj')).toEqual(['q_proj', 'v_proj'])
    expect(read(data, 'columns', '{"a": "query"}')).toEqual({ a: 'query' })
    for (const [table, name, text] of [
      [training, 'learningRate', 'fast'],
      [tuner, 'useRslora', 'yes'],
      [data, 'columns', '{a}'],
    ] as const) {
      expect(caught(() => read(table, name, text)).code).toBe('ERR_OPTION_INVALID')
    }
  })
})
