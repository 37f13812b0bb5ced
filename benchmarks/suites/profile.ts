import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { productLimit } from '../harness/limits.ts'
import { numberOf } from '../harness/line-child.ts'
import { fileURLToPath } from 'node:url'
import { describeCommit, describeMachine, repository } from '../harness/machine.ts'
import { formatProfile, rooflineSeconds, type ProfileAnswer } from '../harness/profile-document.ts'
import { randomModelFolder, randomTokens } from '../harness/random-model.ts'
import { makeRow, type Row } from '../harness/row.ts'
import { shapes, type ShapeName } from '../harness/shapes.ts'
import { choiceOption, numberOption, type Suite, type SuiteContext } from '../harness/suite.ts'
import { startOwn } from '../harness/training-comparison.ts'

const script = fileURLToPath(new URL('../children/profile.ts', import.meta.url))

async function measure(context: SuiteContext): Promise<readonly Row[]> {
  const { options } = context
  const shapeName = choiceOption<ShapeName>(options, 'shape', ['qwen3-0.6b', 'tiny'])
  const sequenceLength = numberOption(options, 'seq')
  const [warmup, steps, rank] = ['warmup', 'steps', 'rank'].map((name) => numberOption(options, name)) as [
    number,
    number,
    number,
  ]
  const folder = await randomModelFolder(shapeName)
  const tokens = join(folder, `tokens-${sequenceLength}.json`)
  writeFileSync(
    tokens,
    JSON.stringify(randomTokens(sequenceLength * (warmup + 1 + steps), shapes[shapeName].vocabulary, 42)),
  )
  const quantize = options.get('quantize') === true
  const limits = context.limits()
  context.watch.restart()
  const child = startOwn(script, { folder, tokens, sequenceLength, warmup, steps, quantize, rank }, context)
  const answer = await child.next()
  await child.close()
  const othersShare = context.watch.othersShare()
  const profile = answer as unknown as ProfileAnswer
  const document = formatProfile(profile, {
    title: `${quantize ? 'QLoRA' : 'LoRA'} r=${rank} on the ${shapeName} shape, ${sequenceLength} tokens a step`,
    machine: describeMachine(),
    commit: describeCommit(),
    limits,
    othersShare,
  })
  context.say(document.text)
  const peaks = { flops: productLimit(limits, profile.computeDtype), bytes: limits.readBytes }
  const path = options.get('write')
  if (typeof path === 'string') {
    writeFileSync(join(repository, path), document.markdown)
    context.say(`written to ${path}`)
  }
  const common = { othersShare, lowerIsBetter: true }
  return [
    makeRow({
      name: 'step',
      unit: 'ms',
      ours: profile.stepMs,
      limit: (1000 * rooflineSeconds(profile.ops, peaks)) / steps,
      ...common,
      note: 'limit: every op by its arithmetic or its bytes, whichever takes longer',
    }),
    makeRow({
      name: 'JavaScript and time between ops',
      unit: '% of the step',
      ours: [document.betweenPercent],
      limit: 3,
      ...common,
    }),
    makeRow({
      name: 'JavaScript thread, most of it while ops run',
      unit: 'ms CPU/step',
      ours: [numberOf(answer, 'javaScriptMs') / steps],
      ...common,
    }),
    ...document.groups.map(({ name, ms, share, rate, unit }) =>
      makeRow({
        name: `op ${name}`,
        unit: 'ms/step',
        ours: [ms],
        othersShare,
        lowerIsBetter: true,
        note: `${(100 * share).toFixed(1)} % of the step, ${rate.toFixed(1)} ${unit}`,
      }),
    ),
  ]
}

const suite: Suite = {
  summary: 'where the time of one training step goes: every op with its rate, JavaScript, and the time between ops',
  options: {
    shape: { meaning: 'qwen3-0.6b or tiny', default: 'qwen3-0.6b' },
    seq: { meaning: 'tokens of a step', default: '512' },
    rank: { meaning: 'rank of the adapters', default: '16' },
    warmup: { meaning: 'steps before the measured ones', default: '2' },
    steps: { meaning: 'measured steps', default: '3' },
    quantize: { meaning: 'NF4 weights' },
    write: { meaning: 'Markdown file to write, from the root of the repository', default: 'docs/profile.md' },
  },
  run: measure,
}

export default suite
