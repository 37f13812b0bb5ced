export type * from './quantizer.ts'
