import type { EnergySourceDescriptor } from '@swift/spec'
import { describe, expect, it } from 'vitest'
import { describeSources } from './describe-sources.ts'

function source(more: Partial<EnergySourceDescriptor>): EnergySourceDescriptor {
  return {
    id: 'ipmi:dcmi',
    kind: 'ipmi',
    scope: 'wall',
    label: 'server power',
    parent: undefined,
    provenance: 'integrated_power',
    state: 'unavailable',
    reason: '',
    method: '',
    relativeUncertainty: 0.05,
    modulusNanojoules: undefined,
    ...more,
  }
}

function fixOf(more: Partial<EnergySourceDescriptor>): string | undefined {
  return describeSources([source(more)])[0]?.fix
}

describe('describeSources', () => {
  it('names the exact fix of a management controller that cannot be read', () => {
    expect(
      fixOf({ reason: 'ERR_ENERGY_IPMI_PERMISSION: /dev/ipmi0 is readable by root only: permission denied' }),
    ).toMatch(/udev.*power-off included/su)
    expect(fixOf({ reason: 'ERR_ENERGY_IPMI_DEVICE: /dev/ipmi0 cannot be opened' })).toContain('modprobe')
    for (const code of ['CERTIFICATE', 'CREDENTIALS', 'PLAIN', 'UNREACHABLE']) {
      expect(fixOf({ kind: 'redfish', reason: `ERR_ENERGY_REDFISH_${code}: …` }), code).toContain('SWIFT_REDFISH_')
    }
  })

  it('has no fix where there is none, and takes no permission of a controller for one of RAPL', () => {
    expect(fixOf({ reason: 'ERR_ENERGY_IPMI_UNSUPPORTED: … insufficient privilege, not permitted' })).toBeUndefined()
    const [finding] = describeSources([source({ state: 'included', reason: '', method: 'IPMI DCMI' })])
    expect(finding).toMatchObject({ verdict: 'measured', why: 'IPMI DCMI', fix: undefined })
  })
})
