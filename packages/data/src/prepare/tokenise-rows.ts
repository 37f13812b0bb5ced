import { SwiftError, type RawRecord, type Row } from '@swift/spec'
import { encodeDocuments } from '../encoding/encode-documents.ts'
import { labelChat, renderChat, type ChatEncodingOptions } from '../encoding/encode-chat.ts'
import { truncate } from '../encoding/truncate.ts'
import type { TokenSequence } from '../encoding/token-sequence.ts'
import { toRow } from '../formats/row-formats.ts'
import type { DatasetSource } from '../reading/dataset-source.ts'
import { sampleRecords } from '../reading/sample-records.ts'
import type { RejectedRow } from '../rejected-rows.ts'
import { RowProblem, type RejectionReason } from '../row-problem.ts'
import { TokenStoreBuilder } from '../storage/token-store.ts'
import type { CachedTokens } from '../storage/token-cache.ts'
import type { PrepareOptions } from './prepare-options.ts'

/** Rows tokenised at once: enough for all cores, little enough for memory. */
const groupSize = 512

interface Pending {
  readonly file: string
  readonly record: RawRecord
  readonly row: Row
}

/** A rejected row of a record. */
export function reject(file: string, record: RawRecord, reason: RejectionReason, detail: string): RejectedRow {
  const { line, index, preview, value } = record
  return {
    file,
    index,
    reason,
    detail,
    ...(line === undefined ? {} : { line }),
    ...(preview === undefined ? {} : { preview }),
    ...(value === undefined ? {} : { row: value }),
  }
}

/** Why a broken record is broken. */
export function brokenReason(record: RawRecord): RejectionReason {
  const reason = 'reason' in record ? record.reason : undefined
  return typeof reason === 'string' ? (reason as RejectionReason) : 'malformed_json'
}

/** Tokenises the rows of some sources in file order. */
export class RowTokeniser {
  readonly #options: PrepareOptions
  readonly #purpose: 'chat' | 'pretrain'
  readonly #builder = new TokenStoreBuilder()
  readonly #files: string[] = []
  readonly #fileIndices = new Map<string, number>()
  readonly #rejected: RejectedRow[] = []
  #rowCount = 0
  #appended = 0

  constructor(options: PrepareOptions, purpose: 'chat' | 'pretrain') {
    this.#options = options
    this.#purpose = purpose
  }

  /** Reads and tokenises everything. */
  async run(sources: readonly DatasetSource[]): Promise<CachedTokens> {
    const { signal, seed = 42 } = this.#options
    for (const source of sources) {
      let group: Pending[] = []
      for await (const { file, record } of sampleRecords(source, { seed, signal })) {
        this.#rowCount += 1
        const row = this.#read(file, record)
        if (row !== undefined) group.push({ file, record, row })
        if (group.length < groupSize) continue
        await this.#encode(group)
        group = []
      }
      await this.#encode(group)
    }
    return {
      store: this.#builder.finish(),
      files: this.#files,
      rowCount: this.#rowCount,
      rejected: this.#rejected,
      appendedEndTokens: this.#appended,
    }
  }

  #read(file: string, record: RawRecord): Row | undefined {
    if (record.problem !== undefined) {
      this.#rejected.push(reject(file, record, brokenReason(record), record.problem))
      return undefined
    }
    return this.#attempt(file, record, () =>
      toRow(record, file, this.#options.format ?? 'auto', this.#options.columns ?? {}),
    )
  }

  /** Runs a step of one row; a problem with it becomes a rejected row. */
  #attempt<T>(file: string, record: RawRecord, step: () => T): T | undefined {
    try {
      return step()
    } catch (error) {
      if (error instanceof RowProblem) this.#rejected.push(reject(file, record, error.reason, error.message))
      else if (SwiftError.isInstance(error)) this.#rejected.push(reject(file, record, 'not_encodable', error.message))
      else throw error
      return undefined
    }
  }

  async #encode(group: readonly Pending[]): Promise<void> {
    if (group.length === 0) return
    await (this.#purpose === 'chat' ? this.#encodeChats(group) : this.#encodeTexts(group))
    this.#options.onProgress?.({ rows: this.#rowCount, tokens: this.#builder.tokenCount })
  }

  async #encodeChats(group: readonly Pending[]): Promise<void> {
    const { tokenizer, chatTemplate, chatTemplateVariables = {}, lossStrategy = 'assistant' } = this.#options
    if (chatTemplate === undefined) {
      throw new SwiftError({
        code: 'ERR_CHAT_TEMPLATE_MISSING',
        asked: 'Tokenising chats',
        found: 'no chat template',
        remedy: 'Pass chatTemplate, or prepare the data for pre-training',
      })
    }
    const options: ChatEncodingOptions = {
      template: chatTemplate,
      tokenizer,
      strategy: lossStrategy,
      variables: chatTemplateVariables,
    }
    const chats = group.flatMap((pending) => {
      const rendered = this.#attempt(pending.file, pending.record, () => renderChat(pending.row, options))
      return rendered === undefined ? [] : [{ pending, rendered }]
    })
    const encodings = await tokenizer.encodeBatch(chats.map(({ rendered }) => rendered.text))
    for (const [index, { pending, rendered }] of chats.entries()) {
      const encoding = encodings[index]
      if (encoding === undefined) continue
      this.#attempt(pending.file, pending.record, () => {
        const { sequence, isEosAppended } = labelChat(rendered, encoding, tokenizer)
        this.#push(pending, sequence)
        if (isEosAppended) this.#appended += 1
      })
    }
  }

  async #encodeTexts(group: readonly Pending[]): Promise<void> {
    const texts = group.map(({ row }) => documentOf(row))
    const sequences = await encodeDocuments(texts, this.#options.tokenizer)
    for (const [index, pending] of group.entries()) {
      const sequence = sequences[index]
      if (sequence === undefined) continue
      this.#attempt(pending.file, pending.record, () => {
        if ((texts[index] ?? '').trim() === '') throw new RowProblem('empty_row', 'the document holds no text')
        this.#push(pending, sequence)
      })
    }
  }

  #push({ file, record }: Pending, sequence: TokenSequence): void {
    const { maxLength } = this.#options
    const truncation = this.#options.truncation ?? (this.#purpose === 'chat' ? 'delete' : 'split')
    const origin = { fileIndex: this.#fileIndex(file), recordIndex: record.index, line: record.line ?? 0 }
    for (const piece of truncate(sequence, maxLength, truncation)) this.#builder.push(piece, origin)
  }

  #fileIndex(file: string): number {
    const known = this.#fileIndices.get(file)
    if (known !== undefined) return known
    const index = this.#files.length
    this.#files.push(file)
    this.#fileIndices.set(file, index)
    return index
  }
}

/** The text of a row for pre-training: a document as it is, the turns of a chat one after the other. */
function documentOf({ messages }: Row): string {
  return messages.map(({ content }) => content).join('\n')
}
