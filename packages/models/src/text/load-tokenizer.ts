import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { NativeTokenizer, type NativeAddedToken } from '@swift/kernels'
import { SwiftError } from '@swift/spec'
import { callNative } from './native-error.ts'
import { isJsonObject, readJsonFile, readTextFile, type JsonObject } from './read-json-file.ts'
import { TextTokenizer, type TokenizerRoles } from './text-tokenizer.ts'
import { readTokenizerConfigFiles, readTokenizerRoles } from './tokenizer-config.ts'

/** Tokenizer classes whose `vocab.json` and `merges.txt` we can build, and how they split text into words. */
const splitRules: Readonly<Record<string, string>> = { GPT2Tokenizer: 'gpt2', Qwen2Tokenizer: 'qwen2' }

function hashOf(...parts: (string | Uint8Array)[]): string {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part).update('\0')
  return hash.digest('hex')
}

function loadNativeJson(bytes: Uint8Array, sourceName: string): NativeTokenizer {
  return callNative(
    {
      code: 'ERR_TOKENIZER_LOAD',
      asked: `Loading the tokenizer ${sourceName}`,
      remedy: 'Download the file again; it must be a tokenizer.json of the Hugging Face tokenizers library.',
    },
    () => NativeTokenizer.fromJson(bytes, sourceName),
  )
}

/** A tokenizer from the text or bytes of a `tokenizer.json`, with the roles given. */
export function tokenizerFromJson(
  json: string | Uint8Array,
  roles: TokenizerRoles = {},
  sourceName: string = 'tokenizer.json',
): TextTokenizer {
  const bytes = typeof json === 'string' ? new TextEncoder().encode(json) : json
  return new TextTokenizer(loadNativeJson(bytes, sourceName), hashOf(bytes), roles)
}

function toAddedToken(id: number, value: unknown): NativeAddedToken[] {
  const token: JsonObject = typeof value === 'string' ? { content: value } : isJsonObject(value) ? value : {}
  const content = token['content']
  if (typeof content !== 'string' || !Number.isInteger(id) || id < 0) return []
  const flag = (name: string): boolean => token[name] === true
  return [
    {
      id,
      content,
      special: flag('special'),
      lstrip: flag('lstrip'),
      rstrip: flag('rstrip'),
      singleWord: flag('single_word'),
      normalized: flag('normalized'),
    },
  ]
}

/** Added tokens from `added_tokens_decoder`, or from the older `added_tokens.json` (token → id). */
async function readAddedTokens(folder: string, tokenizerConfig: JsonObject): Promise<NativeAddedToken[]> {
  const decoder = tokenizerConfig['added_tokens_decoder']
  if (isJsonObject(decoder)) return Object.entries(decoder).flatMap(([id, token]) => toAddedToken(Number(id), token))
  const older = (await readJsonFile(join(folder, 'added_tokens.json'))) ?? {}
  return Object.entries(older).flatMap(([content, id]) => toAddedToken(Number(id), content))
}

async function loadVocabAndMerges(
  folder: string,
  tokenizerConfig: JsonObject,
): Promise<{ native: NativeTokenizer; contentHash: string } | undefined> {
  const [vocab, merges] = await Promise.all(
    ['vocab.json', 'merges.txt'].map((name) => readTextFile(join(folder, name))),
  )
  if (vocab === undefined || merges === undefined) return undefined
  const tokenizerClass = String(tokenizerConfig['tokenizer_class'] ?? '').replace(/Fast$/, '')
  const splitRule = splitRules[tokenizerClass]
  if (splitRule === undefined) {
    throw new SwiftError({
      code: 'ERR_TOKENIZER_UNSUPPORTED',
      asked: `Building the tokenizer of ${folder} from vocab.json and merges.txt`,
      found: `tokenizer_class is ${JSON.stringify(tokenizerConfig['tokenizer_class'] ?? null)} in tokenizer_config.json; known are ${Object.keys(splitRules).join(', ')}`,
      remedy: 'Add the tokenizer.json of this model to the folder.',
      details: { folder, tokenizerClass },
    })
  }
  const addedTokens = await readAddedTokens(folder, tokenizerConfig)
  const native = callNative(
    {
      code: 'ERR_TOKENIZER_LOAD',
      asked: `Building the tokenizer of ${folder}`,
      remedy: 'Download vocab.json, merges.txt and tokenizer_config.json of one model release again.',
    },
    () => NativeTokenizer.fromVocabAndMerges({ vocab, merges, addedTokens, splitRule }),
  )
  return { native, contentHash: hashOf(vocab, merges, JSON.stringify(addedTokens), splitRule) }
}

async function loadTokenizerJson(path: string): Promise<{ native: NativeTokenizer; contentHash: string } | undefined> {
  let bytes: Uint8Array
  try {
    bytes = await readFile(path)
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw new SwiftError({
      code: 'ERR_MODEL_FILE_UNREADABLE',
      asked: `Reading ${path}`,
      found: error instanceof Error ? error.message : String(error),
      remedy: 'Check the file and its permissions.',
      cause: error,
    })
  }
  return { native: loadNativeJson(bytes, path), contentHash: hashOf(bytes) }
}

/**
 * Loads the tokenizer of a model folder: `tokenizer.json` where there is one, else `vocab.json` and `merges.txt` with
 * the added tokens of `tokenizer_config.json`. BOS, EOS and padding come from `tokenizer_config.json` or
 * `special_tokens_map.json`, else from `generation_config.json` or `config.json`; stop ids from `generation_config.json`.
 * @throws SwiftError `ERR_TOKENIZER_MISSING`, `ERR_TOKENIZER_UNSUPPORTED`, `ERR_TOKENIZER_LOAD`.
 */
export async function loadTokenizer(folder: string): Promise<TextTokenizer> {
  const files = await readTokenizerConfigFiles(folder)
  const loaded =
    (await loadTokenizerJson(join(folder, 'tokenizer.json'))) ??
    (await loadVocabAndMerges(folder, files.tokenizerConfig))
  if (loaded === undefined) {
    throw new SwiftError({
      code: 'ERR_TOKENIZER_MISSING',
      asked: `Loading the tokenizer of ${folder}`,
      found: 'neither tokenizer.json nor vocab.json with merges.txt',
      remedy: 'Copy the tokenizer files of the model into the folder.',
      details: { folder },
    })
  }
  const roles = readTokenizerRoles(files, (id) => loaded.native.idToToken(id) ?? undefined)
  return new TextTokenizer(loaded.native, loaded.contentHash, roles)
}
