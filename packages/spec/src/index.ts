export type * from './energy/v1/index.ts'
