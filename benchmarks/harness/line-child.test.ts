import { expect, test } from 'vitest'
import { CpuWatch } from './cpu-watch.ts'
import { LineChild } from './line-child.ts'

const node = (program: string): LineChild => new LineChild(process.execPath, ['-e', program], new CpuWatch())

test('a child that answers in time is not ended', async () => {
  const child = node(
    'console.log(JSON.stringify({ n: 1 })); process.stdin.once("data", () => { console.log(JSON.stringify({ n: 2 })); process.stdin.pause() })',
  )
  expect(await child.nextWithin(60)).toEqual({ n: 1 })
  expect(await child.ask({})).toEqual({ n: 2 })
  await child.close()
})

test('a child that does not answer in time is ended, and that is no failure', async () => {
  const child = node('setInterval(() => undefined, 1000)')
  expect(await child.nextWithin(0.2)).toBeUndefined()
  await child.close()
})

test('a child that ends without an answer is a failure with what it said', async () => {
  const child = node('console.error("no such model"); process.exit(3)')
  await expect(child.nextWithin(60)).rejects.toThrow(/ended with 3\nno such model/)
  await child.close()
})
