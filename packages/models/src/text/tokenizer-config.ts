import { join } from 'node:path'
import { isJsonObject, readJsonFile, type JsonObject } from './read-json-file.ts'
import type { TokenizerRoles } from './text-tokenizer.ts'

/** The small JSON files of a model folder that say how its tokens are used; each empty when absent. */
export interface TokenizerConfigFiles {
  readonly tokenizerConfig: JsonObject
  readonly specialTokensMap: JsonObject
  readonly generationConfig: JsonObject
  readonly modelConfig: JsonObject
}

/** Reads them from a model folder. */
export async function readTokenizerConfigFiles(folder: string): Promise<TokenizerConfigFiles> {
  const read = async (name: string): Promise<JsonObject> => (await readJsonFile(join(folder, name))) ?? {}
  const [tokenizerConfig, specialTokensMap, generationConfig, modelConfig] = await Promise.all([
    read('tokenizer_config.json'),
    read('special_tokens_map.json'),
    read('generation_config.json'),
    read('config.json'),
  ])
  return { tokenizerConfig, specialTokensMap, generationConfig, modelConfig }
}

/** A special token is written as its text or as an object with `content`. */
function tokenText(value: unknown): string | undefined {
  if (typeof value === 'string') return value
  return isJsonObject(value) && typeof value['content'] === 'string' ? value['content'] : undefined
}

function toIds(value: unknown): number[] {
  const values: unknown[] = Array.isArray(value) ? value : [value]
  return values.filter((id): id is number => typeof id === 'number' && Number.isInteger(id) && id >= 0)
}

/**
 * Which tokens begin and end documents and turns. `idToToken` resolves ids where only `config.json` names a token,
 * as in models whose tokenizer files do not.
 */
export function readTokenizerRoles(
  files: TokenizerConfigFiles,
  idToToken: (id: number) => string | undefined,
): TokenizerRoles {
  const find = (role: 'bos' | 'eos' | 'pad'): string | undefined => {
    const named =
      tokenText(files.tokenizerConfig[`${role}_token`]) ?? tokenText(files.specialTokensMap[`${role}_token`])
    // A tokenizer that declares `bos_token: null` means that there is none, whatever the model's config says.
    if (named !== undefined || `${role}_token` in files.tokenizerConfig) return named
    const [id] = toIds(files.generationConfig[`${role}_token_id`] ?? files.modelConfig[`${role}_token_id`])
    return id === undefined ? undefined : idToToken(id)
  }
  const stops = files.generationConfig['eos_token_id'] ?? files.modelConfig['eos_token_id']
  return { bosToken: find('bos'), eosToken: find('eos'), padToken: find('pad'), stopTokenIds: toIds(stops) }
}
