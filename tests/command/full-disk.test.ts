import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readRefusal } from './expect-refusal.ts'
import { runProgram, runSwift, swiftCommand } from './run-swift.ts'
import { checkpointsOf, contentsOf, sftWords, writeSmallRun, type SmallRun } from './small-run.ts'

const root = mkdtempSync(join(tmpdir(), 'swift-full-'))
let small: SmallRun
beforeAll(async () => {
  small = await writeSmallRun(root)
})
afterAll(() => rmSync(root, { recursive: true }))

/** A shell in a name space of its own, where it may mount a small disk that goes when it ends. */
const privateShell = ['unshare', '--map-root-user', '--mount', 'sh', '-c'] as const

async function reasonAgainstMounts(): Promise<string | undefined> {
  const disk = join(root, 'probe')
  mkdirSync(disk, { recursive: true })
  try {
    const probe = await runProgram([...privateShell, 'mount -t tmpfs -o size=64k tmpfs "$1"', 'sh', disk])
    return probe.code === 0 ? undefined : probe.stderr.trim()
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}

/**
 * Trains on a full disk, keeps what is there then, gives the disk space, and trains on; the last state is copied out.
 * The exit codes are written beside the outputs.
 */
const script = `
set -u
disk="$1"; out="$2"; room="$3"; shift 3
mount -t tmpfs -o size="$room" tmpfs "$disk" || exit 99
"$@" >"$out/first.out" 2>"$out/first.err"; echo $? >"$out/first.code"
cp -r "$disk/run" "$out/full"
mount -o remount,size=64m "$disk" || exit 98
"$@" --resume-from-checkpoint auto >"$out/second.out" 2>"$out/second.err"; echo $? >"$out/second.code"
cp -r "$disk/run" "$out/resumed"
`

const length = ['--max-steps', '10', '--save-steps', '2', '--save-total-limit', '9']

/** A checkpoint takes about 120 KiB, the files around them 30. */
const rooms: readonly { readonly room: string; readonly least: number }[] = [
  { room: '16k', least: 0 },
  { room: '260k', least: 1 },
  { room: '420k', least: 2 },
]

describe('a disk that is full', () => {
  let whole: string
  beforeAll(async () => {
    whole = join(root, 'whole')
    expect((await runSwift(sftWords(small, whole, ...length))).code).toBe(0)
  })

  it.for(rooms)(
    'after $room keeps what was saved, and the run goes on once there is space',
    async ({ room, least }, context) => {
      const reason = await reasonAgainstMounts()
      if (reason !== undefined) context.skip(`cannot mount a small disk in a name space of its own: ${reason}`)
      const disk = join(root, `disk-${room}`)
      const out = join(root, `out-${room}`)
      mkdirSync(disk)
      mkdirSync(out)
      const words = [...swiftCommand, ...sftWords(small, join(disk, 'run'), ...length)]
      const run = await runProgram([...privateShell, script, 'sh', disk, out, room, ...words])
      expect(run.code, run.stderr).toBe(0)
      const read = (name: string): string => readFileSync(join(out, name), 'utf8')

      expect(read('first.code')).toBe('2\n')
      const refusal = readRefusal(read('first.err'))
      expect(refusal.code).toBe('ERR_DISK_FULL')
      expect(refusal.remedy).toContain('resumeFromCheckpoint: auto')
      const saved = checkpointsOf(join(out, 'full'))
      expect(saved.length).toBeGreaterThanOrEqual(least)
      expect(saved.length).toBeLessThan(5)
      expect(readdirSync(join(out, 'full')).filter((name) => name.startsWith('.incomplete'))).toEqual([])
      for (const name of saved) expect(contentsOf(join(out, 'full', name))).toEqual(contentsOf(join(whole, name)))

      expect(read('second.code'), read('second.err')).toBe('0\n')
      const end = 'checkpoint-10'
      expect(contentsOf(join(out, 'resumed', end))).toEqual(contentsOf(join(whole, end)))
    },
  )
})
