import { FileControl, type ReadBeside } from './file-control.ts'
import type { PowerSetting } from './power-control.ts'

/**
 * The highest clock of each group of cores that share one, through Linux's cpufreq policies, in kHz. Writing needs root.
 * Virtual machines usually have none.
 */
export class CpuFrequencyControl extends FileControl {
  readonly id: string = 'cpufreq'
  protected readonly entries: RegExp = /^policy\d+$/
  protected readonly file: string = 'scaling_max_freq'

  /** @param root Default: env `SWIFT_CPUFREQ_ROOT`, else `/sys/devices/system/cpu/cpufreq` */
  constructor(root: string = process.env['SWIFT_CPUFREQ_ROOT'] ?? '/sys/devices/system/cpu/cpufreq') {
    super(root)
  }

  protected async describe(
    entry: string,
    read: ReadBeside,
  ): Promise<Pick<PowerSetting, 'label' | 'minimum' | 'maximum'>> {
    return {
      label: `highest clock of processors ${(await read('affected_cpus')) ?? entry}, kHz`,
      minimum: await read('cpuinfo_min_freq'),
      maximum: await read('cpuinfo_max_freq'),
    }
  }
}
