export type * from './option-table.ts'
