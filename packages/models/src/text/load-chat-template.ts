import { join } from 'node:path'
import { SwiftError } from '@swift/spec'
import { chatmlTemplate } from './default-chat-template.ts'
import { JinjaChatTemplate } from './jinja-chat-template.ts'
import { isJsonObject, readJsonFile, readTextFile } from './read-json-file.ts'

/** Templates by name for models that have none, or to override a model's own. */
export const builtInChatTemplates: Readonly<Record<string, string>> = { chatml: chatmlTemplate }

/** How a model's chat template is chosen. */
export interface LoadChatTemplateOptions {
  /** A built-in template to use instead of the model's own. */
  readonly builtIn?: string | undefined
}

interface TemplateSources {
  readonly name: string
  readonly source: string
  readonly toolUseSource?: string
}

/** `chat_template` is one template or a list of named ones. */
function readNamedTemplates(value: unknown, path: string): TemplateSources | undefined {
  if (typeof value === 'string') return { name: path, source: value }
  if (!Array.isArray(value)) return undefined
  const named = new Map<string, string>()
  for (const entry of value as unknown[]) {
    if (!isJsonObject(entry)) continue
    const { name, template } = entry
    if (typeof name === 'string' && typeof template === 'string') named.set(name, template)
  }
  const source = named.get('default')
  if (source === undefined) return undefined
  const toolUseSource = named.get('tool_use')
  return toolUseSource === undefined ? { name: path, source } : { name: path, source, toolUseSource }
}

async function findTemplate(folder: string): Promise<TemplateSources | undefined> {
  const jinjaPath = join(folder, 'chat_template.jinja')
  const source = await readTextFile(jinjaPath)
  if (source !== undefined) return { name: jinjaPath, source }
  for (const file of ['chat_template.json', 'tokenizer_config.json']) {
    const path = join(folder, file)
    const found = readNamedTemplates((await readJsonFile(path))?.['chat_template'], path)
    if (found !== undefined) return found
  }
  return undefined
}

/** Special tokens of `tokenizer_config.json` under the names templates use: `bos_token`, `eos_token`, … */
async function readTokenVariables(folder: string): Promise<Record<string, string>> {
  const variables: Record<string, string> = {}
  for (const file of ['special_tokens_map.json', 'tokenizer_config.json']) {
    for (const [name, value] of Object.entries((await readJsonFile(join(folder, file))) ?? {})) {
      if (!/^(bos|eos|pad|unk|sep|cls|mask)_token$/.test(name)) continue
      const text = isJsonObject(value) ? value['content'] : value
      if (typeof text === 'string') variables[name] = text
    }
  }
  return variables
}

/**
 * The chat template of a model folder: `chat_template.jinja`, else `chat_template` of `chat_template.json` or
 * `tokenizer_config.json`, else the built-in `chatml`. Its `name` says which one it is.
 * @throws SwiftError `ERR_CHAT_TEMPLATE_UNKNOWN` for an unknown built-in, `ERR_CHAT_TEMPLATE_SYNTAX`.
 */
export async function loadChatTemplate(
  folder: string,
  { builtIn }: LoadChatTemplateOptions = {},
): Promise<JinjaChatTemplate> {
  const variables = await readTokenVariables(folder)
  const found = builtIn === undefined ? await findTemplate(folder) : undefined
  if (found !== undefined) return new JinjaChatTemplate({ ...found, variables })
  const name = builtIn ?? 'chatml'
  const source = builtInChatTemplates[name]
  if (source === undefined) {
    throw new SwiftError({
      code: 'ERR_CHAT_TEMPLATE_UNKNOWN',
      asked: `The built-in chat template ${JSON.stringify(name)}`,
      found: `only ${Object.keys(builtInChatTemplates).join(', ')}`,
      remedy: 'Name one of these, or write your template to chat_template.jinja in the model folder.',
    })
  }
  return new JinjaChatTemplate({ name, source, variables })
}
