// Prefill and decode at batch 1: `node decode.ts '<json>'` says hello, then answers every line with one generation.
import { createInterface } from 'node:readline'
import { SwiftModel } from '@swift/core'
import { Generator } from '@swift/models'
import bnbPlugin from '@swift/plugin-bnb'

/** What the child is told. */
interface DecodeRequest {
  readonly folder: string
  readonly prompt: readonly number[]
  readonly newTokens: number
  readonly quantize: boolean
}

const { folder, prompt, newTokens, quantize } = JSON.parse(process.argv[2] ?? '{}') as DecodeRequest
using model = await SwiftModel.fromPretrained(folder, { plugins: [bnbPlugin], loadIn4bit: quantize })
console.log(JSON.stringify({ versions: {} }))
for await (const _line of createInterface({ input: process.stdin })) {
  const ids: number[] = []
  const start = performance.now()
  let first = start
  // As `SwiftModel.generate` does for a checkpoint in bfloat16.
  const options = { maxNewTokens: newTokens, computeDtype: 'bfloat16' } as const
  for await (const { tokenId } of Generator.generate(model.network, [prompt], options)) {
    if (ids.length === 0) first = performance.now()
    ids.push(tokenId)
  }
  const prefillSeconds = (first - start) / 1000
  console.log(JSON.stringify({ prefillSeconds, decodeSeconds: (performance.now() - first) / 1000, ids }))
}
