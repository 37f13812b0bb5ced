import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { writeCapitals, writeTextModel } from '../../packages/core/src/testing/text-model.ts'

/** A small model and small data for calls of the command. */
export interface SmallRun {
  readonly model: string
  readonly dataset: string
}

/** Writes a random model of two layers and 48 rows of questions and answers into a folder. */
export async function writeSmallRun(folder: string): Promise<SmallRun> {
  const small = { model: join(folder, 'model'), dataset: join(folder, 'rows.jsonl') }
  await writeTextModel(small.model)
  await writeCapitals(small.dataset, 8)
  return small
}

/** Writes values as JSON lines. */
export function writeJsonLines(path: string, rows: readonly unknown[]): string {
  writeFileSync(path, rows.map((row) => `${typeof row === 'string' ? row : JSON.stringify(row)}\n`).join(''))
  return path
}

/** Words of a short fine-tune in a folder. */
export function sftWords({ model, dataset }: SmallRun, outputDir: string, ...more: readonly string[]): string[] {
  const words = [
    '--max-length',
    '64',
    '--lora-rank',
    '4',
    '--learning-rate',
    '1e-3',
    '--gradient-accumulation-steps',
    '1',
  ]
  return ['sft', '--model', model, '--dataset', dataset, '--output-dir', outputDir, ...words, ...more]
}

/** Names of the finished checkpoints of a run. */
export function checkpointsOf(outputDir: string): string[] {
  return readdirSync(outputDir).filter((name) => name.startsWith('checkpoint-'))
}

/** What a checkpoint holds, its energy apart: weights, optimizer and where the run is. */
export function contentsOf(checkpoint: string): Readonly<Record<string, unknown>> {
  const bytes = (name: string): string => readFileSync(join(checkpoint, name)).toString('base64')
  const { ledger: _ledger, ...state } = JSON.parse(readFileSync(join(checkpoint, 'trainer_state.json'), 'utf8')) as {
    ledger: unknown
  }
  return { adapter: bytes('adapter_model.safetensors'), optimizer: bytes('optimizer.safetensors'), state }
}
