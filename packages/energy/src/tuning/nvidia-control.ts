import type * as ChildProcess from 'node:child_process'
import { promisify } from 'node:util'
import { SwiftError } from '@swift/spec'
import type { PowerControl, PowerSetting } from './power-control.ts'

const query = 'uuid,power.limit,power.min_limit,power.max_limit'

/** `nvidia-smi` may take seconds on a machine with many GPUs. */
const timeoutMs = 30_000

/** Loaded at the first use, also by the setting that cannot wait: no run without a power limit needs it. */
function processes(): typeof ChildProcess {
  return process.getBuiltinModule('node:child_process')
}

async function run(program: string, words: readonly string[]): Promise<string> {
  const { stdout } = await promisify(processes().execFile)(program, words, { timeout: timeoutMs })
  return stdout
}

/**
 * The power limit of NVIDIA GPUs, by UUID, through `nvidia-smi`. Setting needs root. Limits suit training and prefill;
 * decoding draws far less than any limit, and needs locked clocks instead, which have no readable value to put back
 * and are therefore left to the operator.
 */
export class NvidiaControl implements PowerControl {
  readonly id: string = 'nvidia'
  readonly #program: string

  /** @param program Default: `nvidia-smi` in PATH */
  constructor(program: string = 'nvidia-smi') {
    this.#program = program
  }

  async doList(): Promise<readonly PowerSetting[]> {
    let text: string
    try {
      const words = [`--query-gpu=${query}`, '--format=csv,noheader,nounits']
      text = await run(this.#program, words)
    } catch {
      return []
    }
    const isRoot = process.getuid?.() === 0
    return text
      .split('\n')
      .map((line) => line.split(',').map((cell) => cell.trim()))
      .flatMap(([uuid = '', limit = '', minimum, maximum]) =>
        // A card without a limit says [N/A].
        uuid === '' || !Number.isFinite(Number(limit)) || limit === ''
          ? []
          : {
              id: `nvidia:${uuid}`,
              label: `power limit of ${uuid}, watts`,
              value: limit,
              minimum,
              maximum,
              isWritable: isRoot,
              reason: isRoot ? undefined : 'run as root: the driver takes power limits from root only',
            },
      )
  }

  doSetNow(setting: string, value: string): void {
    const words = ['-i', setting.slice('nvidia:'.length), '-pl', value]
    processes().execFileSync(this.#program, words, { timeout: timeoutMs, stdio: 'ignore' })
  }

  async doSet(setting: string, value: string): Promise<void> {
    const uuid = setting.slice('nvidia:'.length)
    try {
      await run(this.#program, ['-i', uuid, '-pl', value])
    } catch (cause) {
      const { stdout = '', stderr = '' } = cause as { readonly stdout?: string; readonly stderr?: string }
      throw new SwiftError({
        code: 'ERR_POWER_SETTING',
        asked: `The power limit ${value} W of ${uuid}`,
        found: `${stdout}${stderr}`.trim() || String(cause),
        remedy: 'Run as root, with a value between the limits that swift energy doctor prints',
        cause,
      })
    }
  }
}
