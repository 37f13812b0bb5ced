import { fileURLToPath } from 'node:url'

const at = (path: string): string => fileURLToPath(new URL(`../${path}`, import.meta.url))

/** Where the embedded default lies in the repository. */
export const paths: {
  /** Folder of the base model. */
  readonly model: string
  /** Folder of the instruction dataset. */
  readonly data: string
  readonly train: string
  readonly heldOut: string
  readonly trainingLog: string
  readonly scores: string
} = {
  model: at('model'),
  data: at('data'),
  train: at('data/train.jsonl'),
  heldOut: at('data/heldout.jsonl'),
  trainingLog: at('training-log.json'),
  scores: at('scores.json'),
}
