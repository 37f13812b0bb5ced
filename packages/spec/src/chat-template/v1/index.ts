export type * from './chat-template.ts'
