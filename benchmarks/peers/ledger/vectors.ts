import { setTimeout as sleep } from 'node:timers/promises'
import type { FakeZoneOptions } from '@swift/testing'
import type { LinuxPowercapTree } from './fake-tree.ts'

/** What a vector can ask of a tool. */
export interface ToolCommands {
  begin(): Promise<void>
  taskBegin(): Promise<void>
  taskEnd(): Promise<void>
}

/** One way in which energy tools were seen to fail. */
export interface Vector {
  readonly id: string
  readonly title: string
  readonly zones: readonly FakeZoneOptions[]
  /** Which of the tool's numbers is compared: the whole measurement, or the sum of its tasks. */
  readonly answer: 'joules' | 'tasks'
  /** Feeds the tree while the tool measures. @returns the true nanojoules */
  feed(tree: LinuxPowercapTree, tool: ToolCommands): Promise<bigint>
}

const joule = 1_000_000_000n
const socket0: FakeZoneOptions = { entry: 'intel-rapl:0', name: 'package-0' }
const socket1: FakeZoneOptions = { entry: 'intel-rapl:1', name: 'package-1' }
const dram: FakeZoneOptions = { entry: 'intel-rapl:0:0', name: 'dram' }
const tickMs = 50

/** Spends constant power in zones for a time, in ticks of 50 ms as a counter that moves. */
async function spend(tree: LinuxPowercapTree, watts: Readonly<Record<string, number>>, seconds: number): Promise<void> {
  const ticks = Math.round((seconds * 1000) / tickMs)
  for (let tick = 0; tick < ticks; tick++) {
    for (const [entry, power] of Object.entries(watts))
      tree.add(entry, (BigInt(power) * joule * BigInt(tickMs)) / 1000n)
    await sleep(tickMs)
  }
}

/** Runs `body`, then gives every tool the moment its own reading needs. */
async function whole(tree: LinuxPowercapTree, tool: ToolCommands, body: () => Promise<void>): Promise<bigint> {
  await tool.begin()
  const before = tree.spent
  await body()
  await sleep(300)
  return tree.spent - before
}

/** V1 to V8, on a real clock: magnitudes are scaled so that a register of 32 bits wraps within seconds where it has to. */
export const vectors: readonly Vector[] = [
  {
    id: 'V1',
    title: 'one failed read in the middle of a run',
    zones: [socket0],
    answer: 'joules',
    feed: (tree, tool) =>
      whole(tree, tool, async () => {
        await spend(tree, { 'intel-rapl:0': 20 }, 1.6)
        tree.breakUntilAdd('intel-rapl:0')
        await sleep(700)
        await spend(tree, { 'intel-rapl:0': 20 }, 1.6)
      }),
  },
  {
    id: 'V2',
    title: 'package and memory, memory asked for',
    zones: [socket0, dram],
    answer: 'joules',
    feed: (tree, tool) => whole(tree, tool, () => spend(tree, { 'intel-rapl:0': 40, 'intel-rapl:0:0': 20 }, 2.5)),
  },
  {
    id: 'V3',
    title: 'three wraps inside one task',
    // 61 nJ a count: the register returns to zero every 262 J.
    zones: [{ ...socket0, unitNanojoules: 61 }],
    answer: 'tasks',
    feed: (tree, tool) =>
      whole(tree, tool, async () => {
        await tool.taskBegin()
        await sleep(200)
        await spend(tree, { 'intel-rapl:0': 300 }, 2.7)
        await sleep(200)
        await tool.taskEnd()
      }),
  },
  {
    id: 'V4',
    title: 'constant power, two tasks in a longer run',
    zones: [socket0],
    answer: 'joules',
    feed: (tree, tool) =>
      whole(tree, tool, async () => {
        await spend(tree, { 'intel-rapl:0': 60 }, 1)
        await tool.taskBegin()
        await spend(tree, { 'intel-rapl:0': 60 }, 1)
        await tool.taskEnd()
        await spend(tree, { 'intel-rapl:0': 60 }, 1)
        await tool.taskBegin()
        await spend(tree, { 'intel-rapl:0': 60 }, 1)
        await tool.taskEnd()
        await spend(tree, { 'intel-rapl:0': 60 }, 1)
      }),
  },
  {
    id: 'V5',
    title: 'a first task that is cold',
    zones: [socket0],
    answer: 'tasks',
    feed: async (tree, tool) => {
      // The processor draws power all the time; only what it draws between the two answers is the task's.
      const controller = new AbortController()
      const background = (async () => {
        while (!controller.signal.aborted) await spend(tree, { 'intel-rapl:0': 50 }, tickMs / 1000)
      })()
      await tool.taskBegin()
      const before = tree.spent
      await sleep(2000)
      const truth = tree.spent - before
      await tool.taskEnd()
      controller.abort()
      await background
      return truth
    },
  },
  {
    id: 'V6',
    title: 'four packages at once',
    zones: [0, 1, 2, 3].map((index) => ({ entry: `intel-rapl:${index}`, name: `package-${index}` })),
    answer: 'joules',
    feed: (tree, tool) =>
      whole(tree, tool, () =>
        spend(tree, { 'intel-rapl:0': 20, 'intel-rapl:1': 20, 'intel-rapl:2': 20, 'intel-rapl:3': 20 }, 2.5),
      ),
  },
  {
    id: 'V7',
    title: 'one of two sockets wraps',
    zones: [{ ...socket0, startNanojoules: 262_143_328_850n * 1000n - 10n * joule }, socket1],
    answer: 'joules',
    feed: (tree, tool) => whole(tree, tool, () => spend(tree, { 'intel-rapl:0': 20, 'intel-rapl:1': 20 }, 2.5)),
  },
  {
    id: 'V8',
    title: 'a window of 5 J across a wrap',
    zones: [{ ...socket0, startNanojoules: 262_143_328_850n * 1000n - 2n * joule }],
    answer: 'joules',
    feed: async (tree, tool) => {
      // A watcher of wraps looks about once a second: the window lies between two of its looks.
      await sleep(1200)
      await tool.begin()
      const before = tree.spent
      tree.add('intel-rapl:0', 1n * joule)
      await sleep(60)
      tree.add('intel-rapl:0', 4n * joule)
      return tree.spent - before
    },
  },
]
