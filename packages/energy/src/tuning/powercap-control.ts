import { FileControl, type ReadBeside } from './file-control.ts'
import type { PowerSetting } from './power-control.ts'

/** The long-term power limit of each processor package, through the Linux powercap tree. Writing needs root. */
export class PowercapControl extends FileControl {
  readonly id: string = 'powercap'
  protected readonly entries: RegExp = /^intel-rapl:\d+$/
  protected readonly file: string = 'constraint_0_power_limit_uw'

  /** @param root Default: env `SWIFT_POWERCAP_ROOT`, else `/sys/class/powercap` */
  constructor(root: string = process.env['SWIFT_POWERCAP_ROOT'] ?? '/sys/class/powercap') {
    super(root)
  }

  protected async describe(
    entry: string,
    read: ReadBeside,
  ): Promise<Pick<PowerSetting, 'label' | 'minimum' | 'maximum'>> {
    return {
      label: `power limit of ${(await read('name')) ?? entry}, microwatts`,
      minimum: undefined,
      maximum: await read('constraint_0_max_power_uw'),
    }
  }
}
