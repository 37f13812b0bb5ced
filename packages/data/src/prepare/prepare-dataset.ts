import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { SwiftError } from '@swift/spec'
import { shuffledOrder } from '../reading/counter-hash.ts'
import { resolveSource, type DatasetSource } from '../reading/dataset-source.ts'
import { checkRejectedFraction, countByReason, writeRejectedRows, type RejectedRow } from '../rejected-rows.ts'
import { readTokenCache, writeTokenCache, type CachedTokens } from '../storage/token-cache.ts'
import { TokenizedDataset } from '../storage/tokenized-dataset.ts'
import { TokenStoreBuilder, type TokenStore } from '../storage/token-store.ts'
import { fingerprint } from './fingerprint.ts'
import type { DatasetReport, PreparedDataset, PrepareOptions } from './prepare-options.ts'
import { RowTokeniser } from './tokenise-rows.ts'

interface Tokenised {
  readonly tokens: CachedTokens
  readonly fingerprint: string
  readonly fromCache: boolean
}

async function fromCacheOr(
  path: string | undefined,
  options: PrepareOptions,
  make: () => Promise<CachedTokens>,
): Promise<{ tokens: CachedTokens; fromCache: boolean }> {
  if (path === undefined) return { tokens: await make(), fromCache: false }
  const reading = await readTokenCache(path)
  if (reading.kind === 'hit') {
    options.onNote?.({ code: 'NOTE_CACHE_USED', message: `tokens come from the cache ${path}` })
    return { tokens: reading.tokens, fromCache: true }
  }
  if (reading.kind === 'corrupt') {
    options.onNote?.({ code: 'NOTE_CACHE_REBUILT', message: `the token cache ${path} is rebuilt: ${reading.why}` })
  }
  const tokens = await make()
  await writeTokenCache(path, tokens).catch((error: unknown) => {
    const why = error instanceof Error ? error.message : String(error)
    options.onNote?.({ code: 'NOTE_CACHE_NOT_WRITTEN', message: `the token cache ${path} was not written: ${why}` })
  })
  return { tokens, fromCache: false }
}

async function tokenise(specifiers: readonly string[], options: PrepareOptions): Promise<Tokenised> {
  const purpose = options.purpose ?? 'chat'
  const sources: DatasetSource[] = []
  for (const specifier of specifiers) sources.push(await resolveSource(specifier, options.readers))
  const key = await fingerprint(sources, options, purpose)
  const path = options.cacheFolder === undefined ? undefined : join(options.cacheFolder, `${key.slice(0, 32)}.tokens`)
  const { tokens, fromCache } = await fromCacheOr(path, options, () => new RowTokeniser(options, purpose).run(sources))
  return { tokens, fingerprint: key, fromCache }
}

/** The sequences at some positions, as a store of their own. */
function subset(whole: TokenizedDataset, { origins }: TokenStore, positions: readonly number[]): TokenStore {
  const builder = new TokenStoreBuilder()
  for (const position of positions) {
    const [fileIndex = 0, recordIndex = 0, line = 0] = origins.subarray(3 * position, 3 * position + 3)
    builder.push(whole.sequence(position), { fileIndex, recordIndex, line })
  }
  return builder.finish()
}

function split(
  { tokens, fingerprint: key }: Tokenised,
  ratio: number,
  seed: number,
): { train: TokenizedDataset; evaluation: TokenizedDataset | undefined } {
  const { store, files } = tokens
  const whole = new TokenizedDataset(store, files, key)
  const held = Math.min(whole.sequenceCount - 1, Math.max(1, Math.round(ratio * whole.sequenceCount)))
  if (ratio <= 0 || held <= 0) return { train: whole, evaluation: undefined }
  const chosen = new Set(shuffledOrder(whole.sequenceCount, seed, 2).subarray(0, held))
  const positions = Array.from({ length: whole.sequenceCount }, (_, index) => index)
  const part = (name: string, keep: (index: number) => boolean): TokenizedDataset => {
    const digest = createHash('sha256').update(`${key} ${name} ${ratio} ${seed}`).digest('hex')
    return new TokenizedDataset(subset(whole, store, positions.filter(keep)), files, digest)
  }
  return {
    train: part('train', (index) => !chosen.has(index)),
    evaluation: part('evaluation', (index) => chosen.has(index)),
  }
}

function refuseEmpty(specifiers: readonly string[], rowCount: number, dataset: TokenizedDataset): void {
  if (dataset.sequenceCount > 0) return
  throw new SwiftError({
    code: 'ERR_DATASET_EMPTY',
    asked: `The dataset ${specifiers.join(', ')}`,
    found: rowCount === 0 ? 'it holds no rows' : `none of its ${rowCount} rows can be used`,
    remedy: rowCount === 0 ? 'Check the path and the file' : 'See the rejected rows for the reasons',
    details: { specifiers, rowCount },
  })
}

/**
 * Reads rows, turns them into token sequences with their losses, and reports what could not be used.
 *
 * Rejected rows are counted by reason and written to `rejected_rows.jsonl` in `runFolder`; more than
 * `maxRejectedFraction` of them stops the run. Tokens are kept in `cacheFolder` and reused while nothing they depend on
 * has changed.
 * @throws `ERR_DATASET_NOT_FOUND`, `ERR_DATASET_FORMAT_UNKNOWN`, `ERR_DATASET_TOO_MANY_REJECTED`, `ERR_DATASET_EMPTY`,
 *   `ERR_CHAT_TEMPLATE_MISSING`, `ERR_ROW_FORMAT_UNKNOWN`
 */
export async function prepareDataset(options: PrepareOptions): Promise<PreparedDataset> {
  const { sources, evaluationSources, splitDatasetRatio = 0, seed = 42, maxRejectedFraction = 0.01 } = options
  const main = await tokenise(sources, options)
  const held =
    evaluationSources === undefined || evaluationSources.length === 0
      ? undefined
      : await tokenise(evaluationSources, options)
  const parts = [main, ...(held === undefined ? [] : [held])]
  const rejected: RejectedRow[] = parts.flatMap(({ tokens }) => [...tokens.rejected])
  const rowCount = parts.reduce((sum, { tokens }) => sum + tokens.rowCount, 0)
  const path =
    rejected.length > 0 && options.runFolder !== undefined
      ? await writeRejectedRows(options.runFolder, rejected)
      : undefined
  checkRejectedFraction({ rowCount, rejected, maxRejectedFraction, path })
  if (rejected.length > 0) {
    const byReason = Object.entries(countByReason(rejected)).map(
      ([reason, count]) => `${count} ${reason.replaceAll('_', ' ')}`,
    )
    const where = path === undefined ? '' : `; they are in ${path}`
    options.onNote?.({
      code: 'NOTE_ROWS_REJECTED',
      message: `${rejected.length} of ${rowCount} rows cannot be used (${byReason.join(', ')})${where}`,
    })
  }
  const appended = parts.reduce((sum, { tokens }) => sum + tokens.appendedEndTokens, 0)
  if (appended > 0) {
    options.onNote?.({
      code: 'NOTE_END_TOKEN_APPENDED',
      message: `the template ends ${appended} answers without an end token; one was appended to each`,
    })
  }
  const { train, evaluation } = split(main, held === undefined ? splitDatasetRatio : 0, seed)
  const evaluationSet =
    held === undefined ? evaluation : new TokenizedDataset(held.tokens.store, held.tokens.files, held.fingerprint)
  refuseEmpty(sources, main.tokens.rowCount, train)
  if (held !== undefined && evaluationSet !== undefined)
    refuseEmpty(evaluationSources ?? [], held.tokens.rowCount, evaluationSet)
  const report: DatasetReport = {
    rowCount,
    rejectedCount: rejected.length,
    rejectedByReason: countByReason(rejected),
    rejectedPath: path,
    fromCache: parts.every(({ fromCache }) => fromCache),
  }
  return { train, evaluation: evaluationSet, report }
}
