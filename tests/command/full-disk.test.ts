import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
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
  mkdirSync(disk)
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

const rooms: readonly (readonly [room: string, saved: readonly string[]])[] = [
  // One checkpoint takes about 110 KiB; the files around them about 60.
  ['400k', ['checkpoint-2', 'checkpoint-4']],
  ['260k', ['checkpoint-2']],
]

it.each(rooms)(
  'keeps what was saved when a disk of %s is full, and goes on once there is space',
  async (room, saved) => {
    const disk = join(root, `disk-${room}`)
    const out = join(root, `out-${room}`)
    mkdirSync(disk)
    mkdirSync(out)
    void saved
    const length = ['--max-steps', '10', '--save-steps', '2', '--save-total-limit', '9']
    const words = [...swiftCommand, ...sftWords(small, join(disk, 'run'), ...length)]
    const run = await runProgram([...privateShell, script, 'sh', disk, out, room, ...words])
    console.log(run.code, run.stderr)
    for (const f of ['first.code', 'first.out', 'first.err', 'second.code', 'second.err'])
      console.log(f, readFileSync(join(out, f), 'utf8'))
  },
)
