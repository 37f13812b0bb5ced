/**
 * A server's management controller (BMC) in the network, asked through Redfish. What is left out comes from the environment.
 * Credentials of options and environment are not mixed. Nothing of them is written to a journal, a report or an error.
 */
export interface RedfishOptions {
  /** Address, such as `https://10.0.0.7`. Default: env `SWIFT_REDFISH_URL`, else no controller is asked. */
  readonly url?: string
  /** Name of an account that may read. Default: env `SWIFT_REDFISH_USER`. */
  readonly user?: string
  /** Its password. Default: env `SWIFT_REDFISH_PASSWORD`. */
  readonly password?: string
  /** A token sent as `X-Auth-Token`, instead of a user. Default: env `SWIFT_REDFISH_TOKEN`. */
  readonly token?: string
  /**
   * `session` logs in once, again when the session expires, and out in the end; `basic` sends the password with every
   * request; `auto` uses a session where the controller has them. Default `auto`.
   */
  readonly authentication?: 'auto' | 'session' | 'basic'
  /** PEM file of the authority that signed the controller's certificate. Default: env `SWIFT_REDFISH_CA_FILE`. */
  readonly caFile?: string
  /** SHA-256 of the controller's own certificate, 64 hexadecimal digits. Default: env `SWIFT_REDFISH_FINGERPRINT`. */
  readonly fingerprint?: string
  /**
   * Check no certificate, and allow credentials over plain HTTP; a warning says so each time. Default: env
   * `SWIFT_REDFISH_INSECURE=1`, else false.
   */
  readonly insecure?: boolean
  /**
   * Ids of the chassis to count. Default: env `SWIFT_REDFISH_CHASSIS` (separated by commas), else the one that is this
   * machine.
   */
  readonly chassis?: readonly string[]
  /**
   * `counter` takes an energy counter however coarse, `power` integrates power, `auto` takes the counter unless it moves in
   * steps of more than 100 J and there is a power reading. Default `auto`.
   */
  readonly prefer?: 'auto' | 'counter' | 'power'
  /** Shortest time between two polls, 100 to 600,000 ms. Default 1000; a sensor that states a longer interval is asked at that. */
  readonly pollMs?: number
  /** Longest time for one request, 100 to 60,000 ms. Default 5000. */
  readonly timeoutMs?: number
}

/** Where energy sources are looked for. */
export interface SourceOptions {
  /** Powercap tree to read instead of the system's sources. Default: env `SWIFT_POWERCAP_ROOT`, else the system. */
  readonly powercapRoot?: string
  /** NVIDIA's management library. Default: env `SWIFT_NVML_LIBRARY`, else `libnvidia-ml.so.1`. */
  readonly nvmlLibrary?: string
  /** GPUs of this run, written like `CUDA_VISIBLE_DEVICES`. Default: that variable, else all. */
  readonly visibleDevices?: string
  /**
   * Device of this server's management controller, or `none`. Default: env `SWIFT_IPMI_DEVICE`, else `/dev/ipmi0`,
   * `/dev/ipmi/0` or `/dev/ipmidev/0`, unless a powercap tree is given.
   */
  readonly ipmiDevice?: string
  /** A management controller in the network. */
  readonly redfish?: RedfishOptions
}

/** The options as the native meter reads them; left out, the native defaults hold. */
export function toNativeSourceOptions(options: SourceOptions): object {
  const { powercapRoot, nvmlLibrary, visibleDevices, ipmiDevice, redfish } = options
  return {
    powercapRoot: powercapRoot ?? null,
    nvmlLibrary,
    visibleDevices,
    ipmiDevice,
    redfish: redfish && { ...redfish, chassis: redfish.chassis?.join(',') },
  }
}
