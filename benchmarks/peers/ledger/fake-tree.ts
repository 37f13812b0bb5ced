import { mkdirSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { FakePowercapTree, type FakeZoneOptions } from '@swift/testing'

/** A fake tree laid out as Linux does it, so that every tool finds it: flat links, and zones inside their parents. */
export class LinuxPowercapTree extends FakePowercapTree {
  /** Nanojoules spent in all zones together since the beginning. */
  spent: bigint = 0n

  constructor(zones: readonly FakeZoneOptions[]) {
    super(zones)
    const control = join(this.root, 'intel-rapl')
    mkdirSync(control)
    for (const { entry } of zones) {
      const parent = entry.split(':').slice(0, -1).join(':')
      const isInside = parent.includes(':')
      symlinkSync(join(this.root, entry), isInside ? join(this.root, parent, entry) : join(control, entry))
    }
  }

  override add(entry: string, nanojoules: bigint): void {
    this.spent += nanojoules
    super.add(entry, nanojoules)
  }
}
