import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import type { DatasetSource } from '../reading/dataset-source.ts'
import { tokenCacheVersion } from '../storage/token-cache.ts'
import type { PrepareOptions } from './prepare-options.ts'

async function hashFile(path: string): Promise<string> {
  const digest = createHash('sha256')
  for await (const chunk of createReadStream(path)) digest.update(chunk as Buffer)
  return digest.digest('hex')
}

/** Hash (hex) of everything the tokens depend on: contents of the files, tokenizer, template and options. */
export async function fingerprint(
  sources: readonly DatasetSource[],
  options: PrepareOptions,
  purpose: string,
): Promise<string> {
  const files = await Promise.all(
    sources.map(async ({ files: list, count }) => ({
      count: count ?? null,
      files: await Promise.all(list.map(({ path }) => hashFile(path))),
    })),
  )
  const decisive = {
    version: tokenCacheVersion,
    files,
    paths: sources.map(({ files: list }) => list.map(({ path }) => path)),
    purpose,
    tokenizer: options.tokenizer.fingerprint,
    template: options.chatTemplate?.fingerprint ?? null,
    variables: options.chatTemplateVariables ?? {},
    maxLength: options.maxLength,
    lossStrategy: options.lossStrategy ?? 'assistant',
    truncation: options.truncation ?? null,
    format: options.format ?? 'auto',
    columns: options.columns ?? {},
    // Only samples depend on the seed.
    seed: sources.some(({ count }) => count !== undefined) ? (options.seed ?? 42) : null,
  }
  return createHash('sha256').update(JSON.stringify(decisive)).digest('hex')
}
