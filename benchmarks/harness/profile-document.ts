import type { OpTime } from '@swift/tensor'
import { formatColumns, formatMarkdown } from './format-table.ts'
import { productLimit, type Limits } from './limits.ts'
import type { Machine } from './machine.ts'

/** What the profiling child answers. */
export interface ProfileAnswer {
  /** Wall time of each recorded step. */
  readonly stepMs: readonly number[]
  /** CPU time of the JavaScript thread over all recorded steps. */
  readonly javaScriptMs: number
  readonly recompute: string
  readonly computeDtype: 'float32' | 'bfloat16'
  readonly ops: readonly OpTime[]
}

/** Ops of one kind. */
export interface OpGroup {
  readonly name: string
  /** Calls per step. */
  readonly calls: number
  /** Time per step. */
  readonly ms: number
  /** Of the step. */
  readonly share: number
  readonly rate: number
  readonly unit: 'GFLOP/s' | 'GB/s'
  /** Share of the machine's limit in that unit. */
  readonly ofLimit: number
}

/** What stands around the figures. */
export interface ProfileContext {
  readonly title: string
  readonly machine: Machine
  readonly commit: string
  readonly limits: Limits
  readonly othersShare: number | undefined
}

/** A profile as text and as Markdown. */
export interface ProfileDocument {
  readonly text: string
  readonly markdown: string
  readonly groups: readonly OpGroup[]
  /** Time in which no op ran, in percent of the steps. */
  readonly betweenPercent: number
}

/**
 * Seconds that ops take at least, one after the other: each by its arithmetic or by the bytes that it must move, whichever
 * takes the machine longer (Williams et al. 2009, the roofline model). What earlier ops left in caches may be faster.
 */
export function rooflineSeconds(
  ops: readonly Pick<OpTime, 'flops' | 'bytes'>[],
  peaks: { readonly flops: number; readonly bytes: number },
): number {
  return ops.reduce((sum, { flops, bytes }) => sum + Math.max(flops / peaks.flops, bytes / peaks.bytes), 0)
}

/** Groups ops, longest first; an op whose FLOPs would take the machine longer than its bytes is rated in GFLOP/s. */
export function groupOps(
  ops: readonly OpTime[],
  keyOf: (op: OpTime) => string,
  steps: number,
  totalMs: number,
  peaks: { readonly flops: number; readonly bytes: number },
): OpGroup[] {
  const groups = [...Map.groupBy(ops, keyOf)].map(([name, members]): OpGroup => {
    const total = (of: (op: OpTime) => number): number => members.reduce((sum, op) => sum + of(op), 0)
    const ms = total(({ durationMs }) => durationMs)
    const [flops, bytes] = [total((op) => op.flops), total((op) => op.bytes)]
    const isArithmetic = flops / peaks.flops > bytes / peaks.bytes
    const rate = (isArithmetic ? flops : bytes) / Math.max(ms, 1e-9) / 1e6
    return {
      name,
      calls: members.length / steps,
      ms: ms / steps,
      share: ms / totalMs,
      rate,
      unit: isArithmetic ? 'GFLOP/s' : 'GB/s',
      ofLimit: (1e9 * rate) / (isArithmetic ? peaks.flops : peaks.bytes),
    }
  })
  return groups.toSorted((left, right) => right.ms - left.ms)
}

const heads = ['op', 'calls/step', 'ms/step', 'share', 'rate', 'of limit']

function cells({ name, calls, ms, share, rate, unit, ofLimit }: OpGroup): string[] {
  return [
    name,
    calls.toFixed(0),
    ms.toFixed(2),
    `${(100 * share).toFixed(1)} %`,
    `${rate.toFixed(1)} ${unit}`,
    `${(100 * ofLimit).toFixed(0)} %`,
  ]
}

function describeContext({ machine, limits, othersShare, commit }: ProfileContext, answer: ProfileAnswer): string {
  const flops = productLimit(limits, answer.computeDtype) / 1e9
  const others = othersShare === undefined ? 'unknown' : `${(100 * othersShare).toFixed(0)} %`
  const disturbed = (othersShare ?? 0) > 0.1 ? ' (disturbed: rates are lower and shares shift)' : ''
  return `${machine.processor} (${machine.processorId ?? 'no id'}), ${machine.threads} threads, ${machine.instructionSet}; products in ${answer.computeDtype}; recompute ${answer.recompute}. Limits measured in the same run: ${flops.toFixed(0)} GFLOP/s, ${(limits.readBytes / 1e9).toFixed(1)} GB/s read. CPU taken by other processes meanwhile: ${others}${disturbed}. Commit ${commit}.`
}

/** The profile of recorded steps. @throws RangeError when nothing was recorded */
export function formatProfile(answer: ProfileAnswer, context: ProfileContext): ProfileDocument {
  const { ops } = answer
  const last = ops.at(-1)
  const steps = ops.filter(({ name }) => name === 'embedding').length
  if (last === undefined || steps === 0) throw new RangeError('no step was recorded')
  // Recording began as the step before had ended: everything since then belongs to the recorded steps.
  const totalMs = last.startMs + last.durationMs
  const inOps = ops.reduce((sum, { durationMs }) => sum + durationMs, 0)
  const betweenPercent = 100 * (1 - inOps / totalMs)
  const peaks = { flops: productLimit(context.limits, answer.computeDtype), bytes: context.limits.readBytes }
  const groups = groupOps(ops, ({ name }) => name, steps, totalMs, peaks)
  const byOperands = groupOps(ops, ({ name, operands }) => `${name}: ${operands}`, steps, totalMs, peaks).slice(0, 24)
  const summary = [
    ['step', `${(totalMs / steps).toFixed(1)} ms (mean of ${steps})`],
    ['in ops', `${(inOps / steps).toFixed(1)} ms`],
    [
      'between ops and waiting for JavaScript',
      `${((totalMs - inOps) / steps).toFixed(2)} ms, ${betweenPercent.toFixed(2)} %`,
    ],
    ['JavaScript thread (it runs ahead, while ops run)', `${(answer.javaScriptMs / steps).toFixed(1)} ms of CPU time`],
    ['ops', `${(ops.length / steps).toFixed(0)} per step`],
  ]
  const markdown = [
    '# Profile of a training step',
    '<!-- @generated by `pnpm bench profile` -->',
    `${context.title}.\n\n${describeContext(context, answer)}`,
    formatMarkdown(['', ''], summary),
    '## By op',
    'GFLOP/s and GB/s are the declared FLOPs and bytes of the op over its time; each op is rated by what limits it.',
    formatMarkdown(heads, groups.map(cells)),
    '## By op and operands, the longest',
    formatMarkdown(heads, byOperands.map(cells)),
  ].join('\n\n')
  const text = [
    context.title,
    describeContext(context, answer),
    ...summary.map((line) => line.join(': ')),
    '',
    formatColumns(heads, groups.map(cells)),
  ].join('\n')
  return { text, markdown: `${markdown}\n`, groups, betweenPercent }
}
