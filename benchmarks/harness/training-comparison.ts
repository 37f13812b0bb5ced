import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describeCpu } from '@swift/tensor'
import { designWatts, modelledJoules } from './energy-model.ts'
import { productLimit } from './limits.ts'
import { LineChild, numberOf, type Answer } from './line-child.ts'
import { describeMachine } from './machine.ts'
import { peersMissing, startPeer } from './peer.ts'
import { rooflineSeconds, type ProfileAnswer } from './profile-document.ts'
import { randomModelFolder, randomTokens } from './random-model.ts'
import { makeRow, type Row } from './row.ts'
import { loraFlopsPerToken, shapes, type ShapeName } from './shapes.ts'
import { choiceOption, numberOption, type Suite, type SuiteContext } from './suite.ts'
import type { TrainRequest } from './train-request.ts'

const ownScript = fileURLToPath(new URL('../children/train.ts', import.meta.url))
const profileScript = fileURLToPath(new URL('../children/profile.ts', import.meta.url))

/** One run of one side: a process from its start to its end. */
export interface Run {
  readonly tokensPerSecond: number
  /** Peak resident bytes; undefined where the system does not tell. */
  readonly residentBytes: number | undefined
  readonly loadSeconds: number
  /** Process start to the end of the first step, loading left out. */
  readonly startSeconds: number
  readonly joulesPerThousandTokens: number | undefined
  readonly firstLoss: number
}

/** A side of the comparison and its rounds. */
interface Side {
  readonly name: string
  readonly start: () => LineChild
  readonly runs: Run[]
  /** A round may take so many seconds. */
  readonly patience: number
  /** Why it was given up. */
  failure?: string
}

/** Starts one of our own children. */
export function startOwn(
  script: string,
  request: object,
  context: SuiteContext,
  environment: NodeJS.ProcessEnv = {},
): LineChild {
  const built = context.options.get('built') === true
  const conditions = built ? [] : ['--conditions=@swift/source']
  const env = { ...process.env, ...environment }
  return new LineChild(process.execPath, [...conditions, script, JSON.stringify(request)], context.watch, { env })
}

/** What a training child answered, as figures. */
export function readRun(answer: Answer, startedAt: number, tokensPerStep: number, watts: number | undefined): Run {
  const stepSeconds = answer['stepSeconds'] as readonly number[]
  const seconds = stepSeconds.reduce((sum, value) => sum + value, 0)
  const tokens = tokensPerStep * stepSeconds.length
  const loadSeconds = numberOf(answer, 'loadSeconds')
  const joules =
    watts === undefined
      ? undefined
      : modelledJoules(watts, numberOf(answer, 'cpuSeconds'), seconds, describeMachine().cores)
  const resident = answer['residentBytes']
  return {
    tokensPerSecond: tokens / seconds,
    residentBytes: typeof resident === 'number' ? resident : undefined,
    loadSeconds,
    startSeconds: (numberOf(answer, 'firstStepAt') - startedAt) / 1000 - loadSeconds,
    joulesPerThousandTokens: joules === undefined ? undefined : (1000 * joules) / tokens,
    firstLoss: (answer['losses'] as readonly number[])[0] ?? Number.NaN,
  }
}

function compare(
  name: string,
  unit: string,
  of: (run: Run) => number | undefined,
  ours: Side,
  peers: readonly Side[],
  extra: object,
): Row[] {
  const values = (side: Side | undefined): number[] | undefined =>
    side?.runs.map(of).filter((value): value is number => value !== undefined)
  const rows = peers.length === 0 ? [undefined] : peers
  return rows.map((peer) =>
    makeRow({
      name: peer === undefined ? name : `${name}, beside ${peer.name}`,
      unit,
      ours: values(ours),
      peer: values(peer),
      peerName: peer?.name,
      ...extra,
      ...(peer?.failure === undefined ? {} : { note: `${peer.name} was left out: ${peer.failure}` }),
    }),
  )
}

async function runOnce(
  side: Side,
  tokensPerStep: number,
  stepsOfRound: number,
  watts: number | undefined,
  context: SuiteContext,
): Promise<void> {
  const child = side.start()
  try {
    const answer = await child.nextWithin(side.patience)
    if (answer === undefined)
      throw new Error(
        `a round of ${stepsOfRound} steps of ${tokensPerStep} tokens was not done in ${side.patience} s, so it trains fewer than ${((stepsOfRound * tokensPerStep) / side.patience).toFixed(1)} tokens/s here`,
      )
    for (const [name, version] of Object.entries(answer['versions'] as Record<string, string>))
      context.version(name, version)
    const run = readRun(answer, child.startedAt, tokensPerStep, watts)
    side.runs.push(run)
    context.say(
      `${side.name}: ${run.tokensPerSecond.toFixed(1)} tokens/s, ${((run.residentBytes ?? 0) / 2 ** 30).toFixed(2)} GiB, first step ${run.startSeconds.toFixed(2)} s after start and loading (${run.loadSeconds.toFixed(2)} s), first loss ${run.firstLoss.toFixed(4)}`,
    )
  } catch (error) {
    side.failure = error instanceof Error ? error.message : String(error)
    context.say(`${side.name} failed and is left out from here: ${side.failure}`)
  } finally {
    await child.close()
  }
}

/** Peers whose first loss is not ours compute something else; says so. */
function checkLosses(ours: Side, peers: readonly Side[]): string[] {
  const own = ours.runs[0]?.firstLoss
  return peers.flatMap(({ name, runs: [run] }) => {
    if (own === undefined || run === undefined) return []
    const difference = Math.abs(run.firstLoss - own) / own
    return difference > 0.01
      ? [`the first loss of ${name} is ${run.firstLoss.toFixed(4)}, ours ${own.toFixed(4)}: not the same work`]
      : []
  })
}

/** Tokens per second if every op of our step ran at its roofline; from one more process, which records them. */
async function tokensPerSecondByOp(
  request: TrainRequest,
  compute: 'float32' | 'bfloat16',
  context: SuiteContext,
): Promise<number> {
  const limits = context.limits()
  const child = startOwn(profileScript, { ...request, warmup: 1, steps: 1 }, context)
  const { ops } = (await child.next()) as unknown as ProfileAnswer
  await child.close()
  const peaks = { flops: productLimit(limits, compute), bytes: limits.readBytes }
  return request.sequenceLength / rooflineSeconds(ops, peaks)
}

async function measure(context: SuiteContext, quantize: boolean): Promise<Row[]> {
  const { options } = context
  const shapeName = choiceOption<ShapeName>(options, 'shape', ['qwen3-0.6b', 'tiny'])
  const shape = shapes[shapeName]
  const isTiny = shapeName === 'tiny'
  const given = options.has('seq') ? numberOption(options, 'seq') : isTiny ? 256 : 512
  const [rounds, rank] = [numberOption(options, 'rounds'), numberOption(options, 'rank')]
  // A step of the tiny shape takes milliseconds: the first ones compile code, and few would be noise.
  const warmup = options.has('warmup') ? numberOption(options, 'warmup') : isTiny ? 5 : 1
  const steps = options.has('steps') ? numberOption(options, 'steps') : isTiny ? 20 : 3
  const dtypes = String(options.get('dtype')).split(',')
  const folder = await randomModelFolder(shapeName)
  const tokens = join(folder, `tokens-${given}.json`)
  writeFileSync(tokens, JSON.stringify(randomTokens(given * Math.max(3, warmup + steps), shape.vocabulary, 42)))
  const request: TrainRequest = { folder, tokens, sequenceLength: given, warmup, steps, quantize, rank }
  const missing = peersMissing()
  if (missing !== undefined) context.say(`transformers + PEFT are skipped: ${missing}`)
  const patience = numberOption(options, 'patience')
  const ours: Side = {
    name: 'ours',
    runs: [],
    patience: 24 * 3600,
    start: () => startOwn(ownScript, request, context),
  }
  const peers = (missing === undefined ? dtypes : []).map((name): Side => {
    const computeDtype = name === 'f32' ? 'float32' : 'bfloat16'
    const argument = JSON.stringify({ ...request, computeDtype })
    return {
      name: `PEFT ${name}${quantize ? ' NF4 (bitsandbytes)' : ''}`,
      runs: [],
      patience,
      start: () => startPeer('train.py', [argument], context.watch),
    }
  })
  context.say(
    `trained: LoRA r=${rank}, α=${2 * rank}, no dropout, on q, k, v, o, gate, up and down of all ${shape.layers} layers; everything else frozen${quantize ? ', linear weights in NF4 with double quantization' : ', weights bfloat16'}; AdamW, gradient norm clipped at 1; ${given} tokens a step, loss on ${given - 1}; ${warmup} warm-up steps, then ${steps} measured, in a new process each of ${rounds} rounds`,
  )
  const watts = designWatts()
  if (watts === undefined) context.say('joules are unavailable: the CPU-time model is not this machine’s source')
  context.watch.restart()
  for (let round = 0; round < rounds; round++) {
    for (const side of [ours, ...peers])
      if (side.failure === undefined) await runOnce(side, given, warmup + steps, watts, context)
  }
  if (ours.runs.length === 0) throw new Error(`our own run failed: ${ours.failure ?? 'no reason'}`)
  const othersShare = context.watch.othersShare()
  const warnings = checkLosses(ours, peers)
  for (const warning of warnings) context.say(warning)
  const compute = describeCpu().nativeBfloat16 ? 'bfloat16' : 'float32'
  const flops = loraFlopsPerToken(shape, given, rank)
  const byOp = await tokensPerSecondByOp(request, compute, context)
  const common = { othersShare, ...(warnings.length === 0 ? {} : { note: warnings.join('; ') }) }
  const less = { ...common, lowerIsBetter: true }
  const gibibytes = ({ residentBytes }: Run): number | undefined => residentBytes && residentBytes / 2 ** 30
  return [
    ...compare('training', 'tokens/s', (run) => run.tokensPerSecond, ours, peers, {
      ...common,
      limit: productLimit(context.limits(), compute) / flops,
    }),
    makeRow({
      name: 'training, limit by arithmetic or bytes op by op',
      unit: 'tokens/s',
      ours: ours.runs.map((run) => run.tokensPerSecond),
      limit: byOp,
      ...common,
    }),
    ...compare('peak resident memory', 'GiB', gibibytes, ours, peers, less),
    ...compare('start to first step, loading left out', 's', (run) => run.startSeconds, ours, peers, less),
    ...compare('loading the weights', 's', (run) => run.loadSeconds, ours, peers, less),
    ...compare('modelled energy', 'J/1000 tokens', (run) => run.joulesPerThousandTokens, ours, peers, less),
  ]
}

/** The suites `lora-cpu` and `qlora-cpu`. */
export function trainingSuite(quantize: boolean): Suite {
  return {
    summary: `${quantize ? 'QLoRA (NF4)' : 'LoRA'} fine-tuning of a random Qwen3-shaped model beside transformers + PEFT${quantize ? ' + bitsandbytes' : ''}, processes interleaved`,
    options: {
      shape: { meaning: 'qwen3-0.6b or tiny', default: 'qwen3-0.6b' },
      seq: { meaning: 'tokens of a sequence (default 512, tiny 256)' },
      dtype: { meaning: 'dtypes of the peer, separated by commas: f32, bf16', default: 'f32,bf16' },
      rank: { meaning: 'rank of the adapters', default: '16' },
      rounds: { meaning: 'interleaved rounds, a new process each', default: '5' },
      warmup: { meaning: 'steps before the measured ones (default 1, tiny 5)' },
      steps: { meaning: 'measured steps of a round (default 3, tiny 20)' },
      patience: { meaning: 'seconds that a round of a peer may take before it is left out', default: '300' },
      built: { meaning: 'run the built packages (`pnpm build` first) instead of the sources' },
    },
    run: (context) => measure(context, quantize),
  }
}
