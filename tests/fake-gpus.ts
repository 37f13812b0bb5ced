import { copyFileSync, existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { folder } from './energy-support.ts'

/** A GPU as `native/kernels/fake-nvml/src/script.rs` reads it. Seconds count from the moment the library is loaded. */
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

/** A copy of the stand-in for NVIDIA's library, so that each test has a machine and a clock of its own. */
export function fakeGpus(...devices: readonly FakeGpu[]): { readonly library: string; readonly noProcessor: string } {
  const own = folder()
  const library = join(own, 'nvml.so')
  copyFileSync(built ?? '', library)
  writeFileSync(`${library}.json`, JSON.stringify({ driver: '580.1', devices }))
  const noProcessor = join(own, 'powercap')
  mkdirSync(noProcessor)
  return { library, noProcessor }
}
