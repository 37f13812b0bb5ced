import { expect, it } from 'vitest'
import { EventStream } from './event-stream.ts'

type Event = { readonly type: 'a'; readonly value: number } | { readonly type: 'b' }

it('hands events to listeners of their type until they leave', () => {
  const stream = new EventStream<Event>()
  const values: number[] = []
  const all: string[] = []
  const stop = stream.on('a', ({ value }) => values.push(value))
  stream.on('*', ({ type }) => all.push(type))
  stream.emit({ type: 'a', value: 1 })
  stream.emit({ type: 'b' })
  stop()
  stream.emit({ type: 'a', value: 2 })
  expect(values).toEqual([1])
  expect(all).toEqual(['a', 'b', 'a'])
})

it('loses nothing for an iterator that is slower than the events', async () => {
  const stream = new EventStream<Event>()
  const reader = stream[Symbol.asyncIterator]()
  for (let value = 0; value < 5; value += 1) stream.emit({ type: 'a', value })
  const late = (async () => {
    const seen: Event[] = []
    for await (const event of reader) seen.push(event)
    return seen
  })()
  await new Promise((resolve) => setTimeout(resolve, 5))
  stream.emit({ type: 'b' })
  stream.end()
  expect((await late).map(({ type }) => type)).toEqual(['a', 'a', 'a', 'a', 'a', 'b'])
})
