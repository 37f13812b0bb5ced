import { printSummary } from '../view/summary.ts'
import { startView } from '../view/start-view.ts'
import type { Command, CommandCall } from '../arguments/command.ts'
import { printJson, printLine } from '../output/output.ts'
import { interruption } from './interruption.ts'
import { makeTrainer, trainingGroups } from './make-trainer.ts'

async function train({ values, output }: CommandCall, kind: 'sft' | 'pt'): Promise<number> {
  using interrupt = interruption(() => {
    if (!output.json) printLine('\nfinishing this step and saving; press Ctrl-C again to stop at once')
  })
  const { trainer, dispose } = await makeTrainer(values, kind, interrupt.signal)
  const view = await startView(output)
  const stopListening = trainer.on('*', (event) => view.show(event))
  try {
    const result = await trainer.train()
    await view.close()
    if (output.json) printJson({ type: 'result', result })
    else printSummary(result, { command: kind, values, output })
    return result.reason === 'aborted' ? 130 : 0
  } catch (error) {
    // Reading rows ends with this error; from the first step on an interruption is a result.
    const isInterrupted = interrupt.signal.aborted && error instanceof Error && error.name === 'AbortError'
    if (!isInterrupted) throw error
    await view.close()
    if (output.json) printJson({ type: 'result', result: { reason: 'aborted', step: 0 } })
    else printLine('stopped while the data were read: no step was made, and nothing saved before has changed')
    return 130
  } finally {
    stopListening()
    await view.close()
    await dispose()
  }
}

/** `swift sft`. */
export const sft: Command = {
  name: 'sft',
  summary: 'fine-tune a model on chats or question and answer rows',
  usage: '[FILE.yaml] --model FOLDER --dataset FILE [options]',
  examples: [
    'swift sft --model models/qwen3 --dataset rows.jsonl --tuner-type qlora --output-dir runs/first',
    'swift sft run.yaml --learning-rate 2e-4',
    'swift sft --model models/qwen3 --dataset rows.jsonl --output-dir runs/first --resume-from-checkpoint auto',
  ],
  options: trainingGroups,
  run: (call) => train(call, 'sft'),
}

/** `swift pt`. */
export const pt: Command = {
  name: 'pt',
  summary: 'continue pre-training a model on plain text',
  usage: '[FILE.yaml] --model FOLDER --dataset FILE [options]',
  examples: ['swift pt --model models/qwen3 --dataset corpus.txt --tuner-type full --output-dir runs/pt'],
  options: trainingGroups,
  run: (call) => train(call, 'pt'),
}
