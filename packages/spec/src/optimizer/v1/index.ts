export type * from './optimizer.ts'
