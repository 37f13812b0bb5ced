export type * from './dataset-reader.ts'
export type * from './row.ts'
