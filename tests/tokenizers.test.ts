import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { loadChatTemplate, loadTokenizer } from '@swift/models'
import type { ChatMessage, Tokenizer } from '@swift/spec'
import { describe, expect, it, type TestContext } from 'vitest'
import { sharedFile } from './shared-data.ts'

interface Golden {
  readonly chat: readonly {
    readonly name: string
    readonly input: {
      readonly messages: readonly ChatMessage[]
      readonly tools?: readonly Readonly<Record<string, unknown>>[]
      readonly add_generation_prompt?: boolean
    } & Readonly<Record<string, unknown>>
    readonly text: string
    readonly inputIds: readonly number[]
  }[]
  readonly sharedContexts: Readonly<
    Record<string, { readonly bytes: number; readonly sha256: string; readonly tokens: number }>
  >
  readonly texts: readonly { readonly text: string; readonly inputIds: readonly number[]; readonly decoded: string }[]
}

const golden = (name: string): Golden =>
  JSON.parse(readFileSync(fileURLToPath(new URL(`goldens/text/${name}.json`, import.meta.url)), 'utf8')) as Golden

async function qwen(context: TestContext): Promise<Tokenizer> {
  return loadTokenizer(dirname(sharedFile(context, 'tokenizers', 'qwen2.5', 'vocab.json')))
}

const encode = (tokenizer: Tokenizer, text: string): number[] => [...tokenizer.encode(text).ids]

describe('the Qwen2.5 tokenizer', () => {
  it('passes its 47 published vectors', async (context) => {
    const tokenizer = await qwen(context)
    const read = (name: string): string => readFileSync(sharedFile(context, 'tokenizers', 'qwen2.5', name), 'utf8')
    const texts = read('ggml-vocab-qwen2.gguf.inp').split('\n__ggml_vocab_test__\n')
    const ids = read('ggml-vocab-qwen2.gguf.out').split('\n').slice(0, texts.length)
    expect(texts.length).toBe(47)
    for (const [index, text] of texts.entries()) {
      const expected = (ids[index] ?? '').trim().split(/\s+/).filter(Boolean).map(Number)
      expect(encode(tokenizer, text), JSON.stringify(text)).toEqual(expected)
    }
  })

  it('equals transformers on its texts, both ways', async (context) => {
    const tokenizer = await qwen(context)
    for (const { text, inputIds, decoded } of golden('qwen2.5').texts) {
      expect(encode(tokenizer, text), JSON.stringify(text)).toEqual(inputIds)
      expect(tokenizer.decode(inputIds)).toBe(decoded)
      const stream = tokenizer.createStreamDecoder()
      expect(inputIds.map((id) => stream.push(id)).join('') + stream.finish()).toBe(decoded)
    }
  })

  it('gives offsets that cut the text where the tokens do', async (context) => {
    const tokenizer = await qwen(context)
    const text = 'Ärger über 😀 1234 tokens\n\nnew'
    const { ids, offsets } = tokenizer.encode(text)
    expect(offsets.length).toBe(2 * ids.length)
    expect(offsets[0]).toBe(0)
    expect(offsets.at(-1)).toBe(text.length)
  })
})

it('loads a WordPiece tokenizer.json', async (context) => {
  const { tokenizerFromJson } = await import('@swift/models')
  const tokenizer = tokenizerFromJson(
    readFileSync(sharedFile(context, 'tokenizers', 'bert', 'bert-base-uncased.tokenizer.json')),
  )
  expect(encode(tokenizer, 'Hello world')).toEqual([7592, 2088])
})

describe.each(['qwen2.5', 'qwen3'])('the chat template of %s', (name) => {
  const load = (context: TestContext): ReturnType<typeof loadChatTemplate> =>
    loadChatTemplate(dirname(sharedFile(context, 'tokenizers', name, 'tokenizer_config.json')))

  const render = async (context: TestContext, input: Golden['chat'][number]['input']): Promise<string> => {
    const { messages, tools, add_generation_prompt: addGenerationPrompt = false, ...variables } = input
    const template = await load(context)
    return template.render(messages, { addGenerationPrompt, variables, ...(tools === undefined ? {} : { tools }) })
  }

  it('renders as transformers does', async (context) => {
    for (const { name: chat, input, text } of golden(name).chat) expect(await render(context, input), chat).toBe(text)
  })

  it('renders the shared contexts as transformers does', async (context) => {
    for (const [file, { sha256, bytes }] of Object.entries(golden(name).sharedContexts)) {
      const path = sharedFile(context, 'templates', 'contexts', `${file}.json`)
      const text = await render(context, JSON.parse(readFileSync(path, 'utf8')) as Golden['chat'][number]['input'])
      expect(new TextEncoder().encode(text).length, file).toBe(bytes)
      expect(createHash('sha256').update(text).digest('hex'), file).toBe(sha256)
    }
  })
})
