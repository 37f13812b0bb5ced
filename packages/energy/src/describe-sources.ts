import { existsSync, readFileSync } from 'node:fs'
import type { EnergySourceDescriptor } from '@swift/spec'

/** One source, or one that is missing, with what to do about it. */
export interface SourceFinding {
  readonly verdict: 'measured' | 'modelled' | 'shown' | 'unavailable'
  /** Source id, or what is missing. */
  readonly source: string
  readonly why: string
  /** Commands or steps that would make it measured; `undefined` where there is nothing to do. */
  readonly fix: string | undefined
}

const sideChannel =
  'any user can then observe power, a known side channel (CVE-2020-8694): do it on machines you do not share'

/** What to do about a controller's refusal, by its code. */
const controllerFixes: readonly (readonly [code: string, fix: string])[] = [
  [
    'ERR_ENERGY_IPMI_PERMISSION',
    `sudo groupadd -f ipmi; sudo usermod -aG ipmi "$USER"; echo 'KERNEL=="ipmi*", SUBSYSTEM=="ipmi", GROUP="ipmi", MODE="0660"' | sudo tee /etc/udev/rules.d/60-swift-ipmi.rules; sudo udevadm control --reload; sudo udevadm trigger --subsystem-match=ipmi; then log in again. Whoever may open the device may also command the controller, power-off included: give the group to few`,
  ],
  ['ERR_ENERGY_IPMI_DEVICE', 'sudo modprobe -a ipmi_si ipmi_devintf; in a container: --device /dev/ipmi0'],
  ['ERR_ENERGY_REDFISH_CERTIFICATE', 'SWIFT_REDFISH_FINGERPRINT=<the fingerprint above, compared with the controller>'],
  ['ERR_ENERGY_REDFISH_CREDENTIALS', 'SWIFT_REDFISH_USER and SWIFT_REDFISH_PASSWORD of an account that may read'],
  ['ERR_ENERGY_REDFISH_PLAIN', 'SWIFT_REDFISH_URL with https://'],
  ['ERR_ENERGY_REDFISH_UNREACHABLE', 'check SWIFT_REDFISH_URL: curl -k "$SWIFT_REDFISH_URL/redfish/v1/"'],
]

function fixOf({ kind, reason }: EnergySourceDescriptor): string | undefined {
  const known = controllerFixes.find(([code]) => reason.startsWith(code))
  if (known !== undefined) return known[1]
  if (kind === 'ipmi' || kind === 'redfish') return undefined
  const text = reason.toLowerCase()
  const isPermission = /permission|root only|eacces|eperm|paranoid|not permitted/.test(text)
  if (!isPermission) return undefined
  const path = /\/\S+energy_uj/.exec(reason)?.[0] ?? '/sys/class/powercap/intel-rapl:0/energy_uj'
  if (kind === 'rapl_perf') {
    return `sudo sysctl kernel.perf_event_paranoid=0 (until reboot), or for node alone: sudo setcap cap_perfmon+ep "$(readlink -f "$(command -v node)")"; ${sideChannel}`
  }
  if (kind === 'rapl_powercap' || kind === 'rapl_mmio' || kind === 'psys') {
    return `sudo chmod a+r ${path} (until reboot); to keep it: echo 'z ${path} 0444 root root -' | sudo tee /etc/tmpfiles.d/swift-energy.conf; ${sideChannel}`
  }
  return undefined
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

/** Why a machine may have no counter at all. */
function surroundings(): { readonly isVirtual: boolean; readonly isContainer: boolean; readonly hasNvidia: boolean } {
  return {
    isVirtual: /^flags\s*:.*\bhypervisor\b/m.test(readText('/proc/cpuinfo')),
    isContainer:
      existsSync('/.dockerenv') ||
      existsSync('/run/.containerenv') ||
      /docker|kubepods|lxc/.test(readText('/proc/1/cgroup')),
    hasNvidia: existsSync('/proc/driver/nvidia/version'),
  }
}

function withoutCounter({ isVirtual, isContainer }: ReturnType<typeof surroundings>): string {
  if (process.platform !== 'linux') return 'run on Linux: other systems have no counter that this version reads'
  if (isVirtual)
    return 'none from inside: this is a virtual machine whose host passes no counter on; use bare metal, or a guest powercap tree with SWIFT_POWERCAP_ROOT'
  if (isContainer)
    return 'mount the tree into the container: -v /sys/class/powercap:/host/powercap:ro and SWIFT_POWERCAP_ROOT=/host/powercap, with read permission on energy_uj'
  return 'sudo modprobe intel_rapl_msr; then run this again'
}

/** What will be measured, modelled or is unavailable on this machine, why, and the exact fix. */
export function describeSources(sources: readonly EnergySourceDescriptor[]): readonly SourceFinding[] {
  const around = surroundings()
  const findings = sources.map((source): SourceFinding => {
    const verdict =
      source.state === 'unavailable'
        ? 'unavailable'
        : source.state !== 'included'
          ? 'shown'
          : source.provenance === 'modelled'
            ? 'modelled'
            : 'measured'
    const isModelOfCounter = verdict === 'modelled' && source.kind === 'cpu_time_model'
    const blocked = sources.find((other) => other.state === 'unavailable' && fixOf(other) !== undefined)
    return {
      verdict,
      source: source.id,
      why: verdict === 'shown' ? `${source.state}: ${source.reason}` : source.reason || source.method,
      fix: fixOf(source) ?? (isModelOfCounter && blocked === undefined ? withoutCounter(around) : undefined),
    }
  })
  const hasGpuSource = sources.some(({ scope }) => scope === 'gpu' || scope === 'module')
  if (around.hasNvidia && !hasGpuSource) {
    findings.push({
      verdict: 'unavailable',
      source: 'gpu',
      why: 'an NVIDIA driver is loaded, and no GPU source was found',
      fix: 'make libnvidia-ml.so.1 visible to this process (in a container: --gpus all)',
    })
  }
  return findings
}

/** What could be measured besides, where nothing is wrong: one line each, none on machines where it does not apply. */
export function sourceHints(sources: readonly EnergySourceDescriptor[]): readonly string[] {
  const { isVirtual, isContainer } = surroundings()
  const seesWhole = sources.some(({ scope, kind }) => scope === 'wall' && kind !== 'battery')
  const hasBattery = sources.some(({ kind }) => kind === 'battery')
  if (process.platform !== 'linux' || isVirtual || isContainer || seesWhole || hasBattery) return []
  return [
    'a server whose management controller measures the whole machine: give its address with --redfish or SWIFT_REDFISH_URL, or load its device with sudo modprobe -a ipmi_si ipmi_devintf',
  ]
}
