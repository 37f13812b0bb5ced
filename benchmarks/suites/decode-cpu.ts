import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { native } from '@swift/kernels'
import { describeCpu } from '@swift/tensor'
import { memoryLoopBytes, productLimit } from '../harness/limits.ts'
import { numberOf, type LineChild } from '../harness/line-child.ts'
import { peerCommand, peersMissing, startPeer } from '../harness/peer.ts'
import { randomModelFolder, randomTokens } from '../harness/random-model.ts'
import { makeRow, type Row } from '../harness/row.ts'
import { linearWeights, shapes, type Shape, type ShapeName } from '../harness/shapes.ts'
import { choiceOption, numberOption, type Suite, type SuiteContext } from '../harness/suite.ts'
import { summarise } from '../harness/statistics.ts'
import { startOwn } from '../harness/training-comparison.ts'

const ownScript = fileURLToPath(new URL('../children/decode.ts', import.meta.url))

type Bits = 'bf16' | '4-bit'

interface Side {
  readonly name: string
  readonly bits: Bits
  readonly start: () => LineChild
  child?: LineChild
  failure?: string
  readonly prefill: number[]
  readonly decode: number[]
  /** Ids of the last generation. */
  ids: readonly number[]
}

/** Bytes that one token of ours reads: the linear weights in their format, head, keys and values in bfloat16. */
function bytesPerToken(shape: Shape, bits: Bits, context: number): number {
  // NF4 with double quantization: 4 bits, a byte per 64 weights and 4 bytes per 256 of those.
  const perWeight = bits === 'bf16' ? 2 : 0.5 + 1 / 64 + 4 / (64 * 256)
  const head = 2 * shape.hidden * shape.vocabulary
  return (
    linearWeights(shape) * perWeight + head + 2 * 2 * shape.layers * shape.keyValueHeads * shape.headExtent * context
  )
}

/** FLOPs of one token of the prompt; only the last one has logits. */
function prefillFlops(shape: Shape, length: number): number {
  const attention = 2 * shape.layers * length * shape.heads * shape.headExtent
  return 2 * linearWeights(shape) + attention + (2 * shape.hidden * shape.vocabulary) / length
}

function ggufOf(folder: string, matrices: string, head: string, say: (line: string) => void): string {
  const path = join(folder, `${matrices}-${head}.gguf`.toLowerCase())
  if (!existsSync(path)) {
    say(`writing ${path}`)
    const { command, script, env } = peerCommand('to_gguf.py')
    execFileSync(command, [script, folder, path, matrices, head], { env, stdio: ['ignore', 'ignore', 'inherit'] })
  }
  return path
}

async function round(
  side: Side,
  newTokens: number,
  promptLength: number,
  keep: boolean,
  context: SuiteContext,
): Promise<void> {
  if (side.failure !== undefined) return
  try {
    if (side.child === undefined) {
      side.child = side.start()
      const { versions } = await side.child.next()
      for (const [name, version] of Object.entries(versions as Record<string, string>)) context.version(name, version)
    }
    const answer = await side.child.ask({})
    const prefill = promptLength / numberOf(answer, 'prefillSeconds')
    const decode = (newTokens - 1) / numberOf(answer, 'decodeSeconds')
    side.ids = answer['ids'] as readonly number[]
    if (!keep) return
    side.prefill.push(prefill)
    side.decode.push(decode)
    context.say(`${side.name}: prefill ${prefill.toFixed(1)}, decode ${decode.toFixed(1)} tokens/s`)
  } catch (error) {
    side.failure = error instanceof Error ? error.message : String(error)
    context.say(`${side.name} failed and is left out: ${side.failure}`)
  }
}

/** How many of the first tokens each rival generates as ours does: rounding moves later ones, a wrong model the first. */
function agreements(own: readonly Side[], peers: readonly Side[]): string[] {
  const [dense] = own
  return peers
    .filter(({ bits, ids }) => bits === 'bf16' && ids.length > 0)
    .map(({ name, ids }) => {
      const differs = ids.findIndex((id, index) => id !== dense?.ids[index])
      return `${name} generates the same first ${differs < 0 ? ids.length : differs} of ${ids.length} tokens as ours`
    })
}

/** Bytes per second that all threads read from memory at this moment: on a shared machine it changes within seconds. */
function bandwidthNow(): number {
  const loop = (): number => native().rooflineBandwidth(false, true, memoryLoopBytes)
  return Math.max(loop(), loop())
}

async function measure(context: SuiteContext): Promise<readonly Row[]> {
  const { options, say, watch } = context
  const shapeName = choiceOption<ShapeName>(options, 'shape', ['qwen3-0.6b', 'tiny'])
  const shape = shapes[shapeName]
  const [promptLength, newTokens, rounds] = ['prompt', 'new', 'rounds'].map((name) => numberOption(options, name)) as [
    number,
    number,
    number,
  ]
  const folder = await randomModelFolder(shapeName)
  const prompt = randomTokens(promptLength, shape.vocabulary, 5)
  const request = { folder, prompt, newTokens, vocabulary: shape.vocabulary }
  const side = (name: string, bits: Bits, start: () => LineChild): Side => ({
    name,
    bits,
    start,
    prefill: [],
    decode: [],
    ids: [],
  })
  const own = (['bf16', '4-bit'] as const).map((bits) =>
    side(bits === 'bf16' ? 'ours bf16' : 'ours NF4', bits, () =>
      startOwn(ownScript, { ...request, quantize: bits === '4-bit' }, context),
    ),
  )
  const missing = peersMissing()
  if (missing !== undefined) say(`peers are skipped: ${missing}`)
  const llama = (name: string, bits: Bits, matrices: string, head: string): Side =>
    side(`llama.cpp ${name}`, bits, () =>
      startPeer('decode_llama.py', [JSON.stringify({ ...request, model: ggufOf(folder, matrices, head, say) })], watch),
    )
  const peers =
    missing === undefined
      ? [
          side('transformers bf16', 'bf16', () =>
            startPeer('decode_transformers.py', [JSON.stringify({ ...request, dtype: 'bfloat16' })], watch),
          ),
          llama('bf16', 'bf16', 'BF16', 'BF16'),
          llama('q4_0, bf16 head', '4-bit', 'Q4_0', 'BF16'),
          llama('q4_0, q4_0 head', '4-bit', 'Q4_0', 'Q4_0'),
        ]
      : []
  const sides = [...own, ...peers]
  say(
    `batch 1, prompt ${promptLength}, ${newTokens} new tokens, greedy; one warm-up and ${rounds} interleaved rounds, processes stay`,
  )
  for (const each of sides) await round(each, newTokens, promptLength, false, context)
  watch.restart()
  const readBytes: number[] = []
  for (let index = 0; index < rounds; index++) {
    for (const each of sides) {
      readBytes.push(bandwidthNow())
      await round(each, newTokens, promptLength, true, context)
    }
  }
  const othersShare = watch.othersShare()
  for (const { child } of sides) await child?.close()
  for (const line of agreements(own, peers)) say(line)
  const limits = context.limits()
  const compute = describeCpu().nativeBfloat16 ? 'bfloat16' : 'float32'
  return own.flatMap((ours) => {
    const rivals = peers.filter(({ bits }) => bits === ours.bits)
    return (rivals.length === 0 ? [undefined] : rivals).flatMap((peer) => {
      const common = {
        unit: 'tokens/s',
        peerName: peer?.name,
        othersShare,
        ...(peer?.failure === undefined ? {} : { note: `the peer failed: ${peer.failure}` }),
      }
      const beside = peer === undefined ? '' : `, beside ${peer.name}`
      const decodeLimit = summarise(readBytes).median / bytesPerToken(shape, ours.bits, promptLength + newTokens / 2)
      const prefillLimit = productLimit(limits, compute) / prefillFlops(shape, promptLength)
      return [
        makeRow({
          name: `decode ${ours.name}${beside}`,
          ours: ours.decode,
          peer: peer?.decode,
          limit: decodeLimit,
          ...common,
        }),
        makeRow({
          name: `prefill ${ours.name}${beside}`,
          ours: ours.prefill,
          peer: peer?.prefill,
          limit: prefillLimit,
          ...common,
        }),
      ]
    })
  })
}

const suite: Suite = {
  summary: 'generation at batch 1 in bf16 and 4 bits beside transformers, llama.cpp and the memory’s bandwidth',
  options: {
    shape: { meaning: 'qwen3-0.6b or tiny', default: 'qwen3-0.6b' },
    prompt: { meaning: 'tokens of the prompt', default: '128' },
    new: { meaning: 'tokens generated', default: '64' },
    rounds: { meaning: 'interleaved rounds', default: '5' },
    built: { meaning: 'run the built packages instead of the sources' },
  },
  run: measure,
}

export default suite
