import { expect, it } from 'vitest'
import { Generation } from './generation.ts'

async function* pieces(...parts: string[]): AsyncGenerator<string, void> {
  for (const part of parts) {
    await new Promise((resolve) => setImmediate(resolve))
    yield part
  }
}

it('is a text to await and pieces to iterate, in either order', async () => {
  const generation = new Generation(pieces('one ', 'two ', 'three'))
  const seen: string[] = []
  for await (const piece of generation) seen.push(piece)
  expect(seen).toEqual(['one ', 'two ', 'three'])
  expect(await generation).toBe('one two three')
  const again: string[] = []
  for await (const piece of generation) again.push(piece)
  expect(again).toEqual(seen)
})

it('tells its error to whoever awaits or iterates, after the pieces that came', async () => {
  const generation = new Generation(
    (async function* () {
      yield 'a'
      throw new RangeError('broken')
    })(),
  )
  await expect(generation).rejects.toThrow('broken')
  const seen: string[] = []
  await expect(
    (async () => {
      for await (const piece of generation) seen.push(piece)
    })(),
  ).rejects.toThrow('broken')
  expect(seen).toEqual(['a'])
})
