import { closeSync, constants, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** A zone of a fake tree. */
export interface FakeZoneOptions {
  /** Entry in the tree, such as `intel-rapl:0`, or `intel-rapl:0:1` for a zone inside it. */
  readonly entry: string
  /** What the kernel writes into `name`: `package-0`, `dram`, `core`, `uncore`, `psys`. */
  readonly name: string
  /** Energy unit of the register in nanojoules. Default 61,035 (2^-14 J as the kernel truncates it). */
  readonly unitNanojoules?: number
  /** Nanojoules on the register at the start. Default 0. */
  readonly startNanojoules?: bigint
  /** Leave out `max_energy_range_uj`, as some guests do. Default false. */
  readonly withoutMaximum?: boolean
}

interface Zone {
  readonly folder: string
  readonly modulus: bigint
  nanojoules: bigint
}

/**
 * A Linux powercap tree in a temporary folder, for tests of everything that reads RAPL. The register has 32 bits, as
 * the real one: it returns to zero one unit after `max_energy_range_uj`.
 *
 * ```ts
 * using tree = new FakePowercapTree([{ entry: 'intel-rapl:0', name: 'package-0' }])
 * const ledger = await Ledger.open(folder, { powercapRoot: tree.root })
 * tree.add('intel-rapl:0', 5_000_000_000n) // 5 J
 * ```
 */
export class FakePowercapTree implements Disposable {
  /** Folder to read instead of `/sys/class/powercap`. */
  readonly root: string
  readonly #zones = new Map<string, Zone>()

  constructor(zones: readonly FakeZoneOptions[]) {
    this.root = mkdtempSync(join(tmpdir(), 'swift-powercap-'))
    for (const zone of zones) this.#addZone(zone)
  }

  #addZone(options: FakeZoneOptions): void {
    const { entry, name, unitNanojoules = 61_035, startNanojoules = 0n, withoutMaximum = false } = options
    const folder = join(this.root, entry)
    mkdirSync(folder)
    writeFileSync(join(folder, 'name'), `${name}\n`)
    const unit = BigInt(unitNanojoules)
    if (!withoutMaximum) writeFileSync(join(folder, 'max_energy_range_uj'), `${((2n ** 32n - 1n) * unit) / 1000n}\n`)
    const zone = { folder, modulus: 2n ** 32n * unit, nanojoules: startNanojoules }
    this.#zones.set(entry, zone)
    this.#show(zone)
  }

  #zone(entry: string): Zone {
    const zone = this.#zones.get(entry)
    if (zone === undefined)
      throw new RangeError(`no zone ${entry} in this tree; it has ${[...this.#zones.keys()].join(', ')}`)
    return zone
  }

  #show(zone: Zone): void {
    // In place and of one length: a reader must never find a file that is empty for a moment, as the kernel's never is.
    const file = openSync(join(zone.folder, 'energy_uj'), constants.O_WRONLY | constants.O_CREAT, 0o644)
    try {
      writeSync(file, `${((zone.nanojoules % zone.modulus) / 1000n).toString().padEnd(20)}\n`, 0)
    } finally {
      closeSync(file)
    }
  }

  /** Nanojoules at which a zone's register returns to zero. */
  modulus(entry: string): bigint {
    return this.#zone(entry).modulus
  }

  /** Spend energy in a zone. */
  add(entry: string, nanojoules: bigint): void {
    const zone = this.#zone(entry)
    zone.nanojoules += nanojoules
    this.#show(zone)
  }

  /** Make reads of a zone fail until the next {@link add}. */
  breakUntilAdd(entry: string): void {
    writeFileSync(join(this.#zone(entry).folder, 'energy_uj'), '')
  }

  /** Remove the tree. */
  [Symbol.dispose](): void {
    rmSync(this.root, { recursive: true, force: true })
  }
}
