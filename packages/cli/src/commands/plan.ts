import type { Command } from '../arguments/command.ts'
import { printJson, printLine } from '../output/output.ts'
import { makeTrainer, trainingGroups } from './make-trainer.ts'

/** `swift plan`. */
export const plan: Command = {
  name: 'plan',
  summary: 'forecast memory, time, energy and carbon of a run without starting it',
  usage: '[FILE.yaml] --model FOLDER --dataset FILE [options]',
  examples: ['swift plan --model models/qwen3 --dataset rows.jsonl --tuner-type qlora --max-length 4096'],
  options: trainingGroups,
  run: async ({ values, output }) => {
    const { trainer, dispose } = await makeTrainer(values, 'sft')
    try {
      const made = await trainer.plan()
      if (output.json) printJson({ type: 'plan', plan: made })
      else printLine(made.print())
      return 0
    } finally {
      await dispose()
    }
  },
}
