import { describe, expect, it } from 'vitest'
import { CpuWatch, othersShareBetween, parseMachine, parseProcess } from './cpu-watch.ts'
import { LineChild, numberOf } from './line-child.ts'

describe('reading /proc', () => {
  it('counts all but idle and waiting as busy, stolen time included', () => {
    const text = 'cpu  100 10 50 800 20 5 5 10 40 0\ncpu0 1 2 3 4 5 6 7 8 9 10\n'
    expect(parseMachine(text)).toEqual({ busy: 180, total: 1000 })
  })

  it('adds up a process and its ended children, whatever its name holds', () => {
    expect(parseProcess('42 (a b) c) S 1 2 3 4 5 6 7 8 9 10 100 20 3 4 20 0 1 0')).toBe(127)
  })

  it('gives to others what is not ours, of all CPUs', () => {
    const start = { busy: 0, total: 0, own: 0 }
    expect(othersShareBetween(start, { busy: 150, total: 200, own: 100 })).toBe(0.25)
    expect(othersShareBetween(start, { busy: 99, total: 200, own: 100 })).toBe(0)
    expect(othersShareBetween(start, start)).toBeUndefined()
  })
})

describe('a child that answers lines', () => {
  const echo = `process.stdin.on('data', (d) => d.toString().trim().split('\\n').forEach((l) => console.log(l)));
    console.log('not an answer'); console.log('{"value": 1}')`

  it('answers in order, and other lines are no answers', async () => {
    const child = new LineChild(process.execPath, ['-e', echo], new CpuWatch())
    expect(numberOf(await child.next(), 'value')).toBe(1)
    expect(numberOf(await child.ask({ value: 2 }), 'value')).toBe(2)
    await child.close()
  })

  it('that ends tells why to whoever waits', async () => {
    const child = new LineChild(process.execPath, ['-e', 'console.error("no memory"); process.exit(3)'], new CpuWatch())
    await expect(child.next()).rejects.toThrow(/ended with 3[\s\S]*no memory/)
    await child.close()
  })

  it('whose program is missing is a failure, not a wait without end', async () => {
    const child = new LineChild('/nowhere/python', [], new CpuWatch())
    await expect(child.next()).rejects.toThrow('ENOENT')
  })

  it('is ours to the watch that knows it, and another’s to one that does not', async ({ skip }) => {
    if (process.platform !== 'linux') skip('CPU time of processes is read on Linux only')
    const [knowing, ignorant] = [new CpuWatch(), new CpuWatch()]
    // 0.4 s of processor time, however long a busy machine takes to give them.
    const busy = 'while (process.cpuUsage().user < 4e5); console.log("{}"); process.stdin.resume()'
    const child = new LineChild(process.execPath, ['-e', busy], knowing)
    await child.next()
    const [known, unknown] = [knowing.othersShare(), ignorant.othersShare()]
    await child.close()
    expect(known).toBeLessThan(unknown ?? 0)
  })
})
