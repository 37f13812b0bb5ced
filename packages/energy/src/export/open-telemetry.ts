import { createRequire } from 'node:module'
import type * as OpenTelemetry from '@opentelemetry/api'
import type { Meter } from '@opentelemetry/api'
import type { EnergyScope, EnergySourceDescriptor } from '@swift/spec'
import type { Ledger } from '../ledger.ts'

/** `hw.type` of the semantic conventions for hardware. */
const hardwareTypes: Readonly<Record<EnergyScope, string>> = {
  wall: 'power_supply',
  platform: 'enclosure',
  package: 'cpu',
  core: 'cpu',
  uncore: 'cpu',
  dram: 'memory',
  gpu: 'gpu',
  module: 'gpu',
}

/** How {@link publishOpenTelemetry} names its meter. */
export interface OpenTelemetryOptions {
  /** Default: the global provider's meter `@swift/energy`. */
  readonly meter?: Meter
}

/** Loads the API when a ledger is published: it is half a hundred files, which no other run needs. */
function globalMeter(): Meter {
  const { metrics } = createRequire(import.meta.url)('@opentelemetry/api') as typeof OpenTelemetry
  return metrics.getMeter('@swift/energy')
}

function attributes({ id, scope, parent, provenance, label }: EnergySourceDescriptor): Record<string, string> {
  return {
    'hw.id': id,
    'hw.type': hardwareTypes[scope],
    'hw.name': label,
    ...(parent === undefined ? {} : { 'hw.parent': parent }),
    'swift.energy.provenance': provenance,
  }
}

/**
 * Publishes an open ledger as OpenTelemetry counters: `hw.energy` for each included source, `hw.host.energy` for their
 * measured sum, and `swift.energy.account` by account, all in joules. Without an SDK in the process nothing happens, as
 * is OpenTelemetry's way.
 * @returns ends the publishing
 */
export function publishOpenTelemetry(ledger: Ledger, { meter = globalMeter() }: OpenTelemetryOptions = {}): () => void {
  const unit = 'J'
  const perSource = meter.createObservableCounter('hw.energy', { unit, description: 'Energy of a source.' })
  const host = meter.createObservableCounter('hw.host.energy', {
    unit,
    description: 'Measured energy of the host; sources inside each other are counted once.',
  })
  const accounts = meter.createObservableCounter('swift.energy.account', { unit, description: 'Energy by account.' })
  const observables = [perSource, host, accounts]
  const observe: Parameters<Meter['addBatchObservableCallback']>[0] = (result) => {
    const { sources, entries, energy } = ledger.totals()
    const bySource = new Map<string, bigint>()
    const byAccount = new Map<string, { readonly at: Record<string, string>; nanojoules: bigint }>()
    for (const { source, kind, energyClass, nanojoules } of entries) {
      bySource.set(source, (bySource.get(source) ?? 0n) + nanojoules)
      const key = `${kind} ${energyClass}`
      const sum = byAccount.get(key) ?? {
        at: { 'swift.energy.account': kind, 'swift.energy.class': energyClass },
        nanojoules: 0n,
      }
      sum.nanojoules += nanojoules
      byAccount.set(key, sum)
    }
    for (const source of sources) {
      const nanojoules = bySource.get(source.id)
      if (nanojoules !== undefined) result.observe(perSource, Number(nanojoules) / 1e9, attributes(source))
    }
    if (energy.measured !== undefined) result.observe(host, Number(energy.measured.nanojoules) / 1e9)
    for (const { at, nanojoules } of byAccount.values()) result.observe(accounts, Number(nanojoules) / 1e9, at)
  }
  meter.addBatchObservableCallback(observe, observables)
  return () => meter.removeBatchObservableCallback(observe, observables)
}
