/** How text is generated. Left out: the model's `generation_config.json`, else greedy. */
export interface GenerationOptions {
  /** Most tokens to generate. Default 512. */
  readonly maxNewTokens?: number
  /** Temperature of sampling; 0 takes the likeliest token. */
  readonly temperature?: number
  /** Sample among the k likeliest tokens; 0 is all. */
  readonly topK?: number
  /** Sample among the likeliest tokens whose probabilities reach this sum. */
  readonly topP?: number
  /** Divides the scores of tokens already written; 1 is off. */
  readonly repetitionPenalty?: number
}
