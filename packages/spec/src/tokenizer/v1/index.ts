export type * from './tokenizer.ts'
