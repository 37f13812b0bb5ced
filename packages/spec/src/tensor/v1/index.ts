export type * from './tensor.ts'
