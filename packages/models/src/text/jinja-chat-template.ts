import { createHash } from 'node:crypto'
import { Template } from '@huggingface/jinja'
import {
  SwiftError,
  type ChatMessage,
  type ChatRenderOptions,
  type ChatTemplate,
  type MarkedRendering,
  type TextRange,
} from '@swift/spec'
import { rewriteStripCalls, stripFunctions } from './strip-calls.ts'

/** What a template is made from. */
export interface JinjaChatTemplateOptions {
  /** Where it comes from, for messages. */
  readonly name: string
  readonly source: string
  /** Used instead of `source` when tools are given, where a model has a separate one. */
  readonly toolUseSource?: string | undefined
  /** Variables every rendering gets, such as `bos_token`. */
  readonly variables?: Readonly<Record<string, unknown>>
}

// Private-use characters, which no published template writes; rows that contain them are rendered without marks.
const generationStart = '\uE0F0'
const generationEnd = '\uE0F1'

/** The tag with the whitespace that `trim_blocks` and `lstrip_blocks` would remove around it. */
const generationTag = /(^[ \t]*)?\{%(-?|\+?)\s*(end)?generation\s*(-?)%\}(\n?)/gm

function markGenerations(source: string): string | undefined {
  let found = false
  const marked = source.replace(generationTag, (_, _indent, left: string, end: string | undefined, right: string) => {
    found = true
    return `{{${left === '-' ? '-' : ''} '${end === undefined ? generationStart : generationEnd}' ${right}}}`
  })
  return found ? marked : undefined
}

/** Templates see a message without what only the trainer reads. */
function toTemplateMessage({ loss: _loss, loss_scale: _lossScale, ...message }: ChatMessage): object {
  return message
}

class LazyTemplate {
  readonly #source: string
  #parsed: Template | undefined

  constructor(source: string) {
    this.#source = source
  }

  render(variables: Record<string, unknown>): string {
    if (this.#parsed === undefined) {
      this.#parsed = new Template(this.#source)
      rewriteStripCalls(this.#parsed.parsed)
    }
    return this.#parsed.render({ ...stripFunctions, ...variables })
  }
}

/** A chat template in Jinja, rendered with the functions and variables Hugging Face transformers offers. */
export class JinjaChatTemplate implements ChatTemplate {
  readonly name: string
  readonly fingerprint: string
  readonly source: string
  readonly #variables: Readonly<Record<string, unknown>>
  readonly #plain: LazyTemplate
  readonly #toolUse: LazyTemplate
  readonly #marked: LazyTemplate | undefined
  readonly #markedToolUse: LazyTemplate | undefined

  constructor({ name, source, toolUseSource, variables = {} }: JinjaChatTemplateOptions) {
    this.name = name
    this.source = source
    this.#variables = variables
    this.fingerprint = createHash('sha256')
      .update(JSON.stringify([source, toolUseSource ?? null, variables]))
      .digest('hex')
    this.#plain = this.#parse(source)
    this.#toolUse = toolUseSource === undefined ? this.#plain : this.#parse(toolUseSource)
    const marked = markGenerations(source)
    const markedToolUse = markGenerations(toolUseSource ?? source)
    this.#marked = marked === undefined ? undefined : new LazyTemplate(marked)
    this.#markedToolUse = markedToolUse === undefined ? undefined : new LazyTemplate(markedToolUse)
  }

  render(messages: readonly ChatMessage[], options: ChatRenderOptions = {}): string {
    return this.#render(options.tools === undefined ? this.#plain : this.#toolUse, messages, options)
  }

  renderMarked(messages: readonly ChatMessage[], options: ChatRenderOptions = {}): MarkedRendering | undefined {
    const template = options.tools === undefined ? this.#marked : this.#markedToolUse
    if (template === undefined) return undefined
    const plain = this.render(messages, options)
    if (plain.includes(generationStart) || plain.includes(generationEnd)) return undefined
    const marked = this.#render(template, messages, options)
    const generations: TextRange[] = []
    let text = ''
    let start: number | undefined
    for (const piece of marked.split(new RegExp(`([${generationStart}${generationEnd}])`))) {
      if (piece === generationStart) start = text.length
      else if (piece === generationEnd && start !== undefined) {
        generations.push({ start, end: text.length })
        start = undefined
      } else if (piece !== generationEnd) text += piece
    }
    // Marks must not change what is rendered; where a template's whitespace makes them, they are of no use.
    return text === plain && start === undefined ? { text, generations } : undefined
  }

  #parse(source: string): LazyTemplate {
    const template = new LazyTemplate(source)
    try {
      void new Template(source)
    } catch (error) {
      throw new SwiftError({
        code: 'ERR_CHAT_TEMPLATE_SYNTAX',
        asked: `Parsing the chat template ${this.name}`,
        found: error instanceof Error ? error.message : String(error),
        remedy: 'Repair the template, or write another one to chat_template.jinja in the model folder.',
        cause: error,
      })
    }
    return template
  }

  #render(template: LazyTemplate, messages: readonly ChatMessage[], options: ChatRenderOptions): string {
    const { addGenerationPrompt = false, tools, variables = {} } = options
    try {
      return template.render({
        // As in transformers, what is not given is none and not undefined: templates ask `is not none`.
        documents: null,
        ...this.#variables,
        ...variables,
        messages: messages.map(toTemplateMessage),
        tools: tools ?? null,
        add_generation_prompt: addGenerationPrompt,
      })
    } catch (error) {
      throw new SwiftError({
        code: 'ERR_CHAT_TEMPLATE_RENDER',
        asked: `Rendering ${messages.length} messages (${messages.map(({ role }) => role).join(', ')}) with the chat template ${this.name}`,
        found: error instanceof Error ? error.message : String(error),
        remedy: 'Check that the roles come in an order this template allows.',
        cause: error,
      })
    }
  }
}
