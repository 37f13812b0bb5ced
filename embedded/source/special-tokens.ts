/** The three special tokens, with the names and roles they have in Qwen3. */
export const special = {
  documentEnd: '<|endoftext|>',
  turnStart: '<|im_start|>',
  turnEnd: '<|im_end|>',
} as const
