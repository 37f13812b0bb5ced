import { copyFileSync, existsSync, mkdirSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { folder } from './energy-support.ts'

/** A GPU as `native/kernels/fake-nvml/src/script.rs` reads it, at the seconds of its machine's clock. */
export interface FakeGpu {
  readonly uuid: string
  /** Watts from a second on, constant until the next entry. */
  readonly power: readonly (readonly [second: number, watts: number])[]
  /** Milliseconds between two values of the counter. */
  readonly updateMs?: number
  /** What the counter shows at first. */
  readonly startMillijoules?: number
  /** The counter returns to zero at this second. */
  readonly resetAt?: number
  /** The GPU is lost from this second on. */
  readonly lostAt?: number
}

const name = process.platform === 'darwin' ? 'libswift_fake_nvml.dylib' : 'libswift_fake_nvml.so'
const target = process.env['CARGO_TARGET_DIR'] ?? fileURLToPath(new URL('../native/kernels/target', import.meta.url))
const built = ['debug', 'release'].map((profile) => join(target, profile, name)).find((path) => existsSync(path))

/** Why there are no GPUs to fake; undefined where there are. */
export const whyNoFakeGpus: string | undefined =
  built === undefined
    ? `${name} is not built: npm test builds it, or cargo build -p swift-fake-nvml --manifest-path native/kernels/Cargo.toml`
    : undefined

/** GPUs and their clock, which stands until it is set: how late anybody looks changes no reading. */
export interface FakeGpus {
  /** A copy of the stand-in for NVIDIA's library, so that each test has a machine of its own. */
  readonly library: string
  /** A powercap tree without a processor. */
  readonly noProcessor: string
  /** Holds the seconds of the clock, at first 0. Replace it as a whole: a reader finds the old time or the new one. */
  readonly clock: string
  /** Sets the clock. */
  readonly setSeconds: (seconds: number) => void
}

/** Makes a machine of GPUs. */
export function fakeGpus(...devices: readonly FakeGpu[]): FakeGpus {
  const own = folder()
  const [library, noProcessor, clock] = [join(own, 'nvml.so'), join(own, 'powercap'), join(own, 'clock')]
  copyFileSync(built ?? '', library)
  writeFileSync(`${library}.json`, JSON.stringify({ driver: '580.1', devices, clock }))
  mkdirSync(noProcessor)
  const setSeconds = (seconds: number): void => {
    writeFileSync(`${clock}.next`, String(seconds))
    renameSync(`${clock}.next`, clock)
  }
  setSeconds(0)
  return { library, noProcessor, clock, setSeconds }
}
