import type { SourceOptions } from '@swift/energy'

/** Where sources are looked for, from the options of the command; what is left out comes from the environment. */
export function sourceOptions(values: Readonly<Record<string, unknown>>): SourceOptions {
  const text = (name: string): string | undefined => {
    const value = values[name]
    return typeof value === 'string' ? value : undefined
  }
  const [url, caFile, fingerprint] = [text('redfish'), text('redfishCaFile'), text('redfishFingerprint')]
  const [chassis, ipmiDevice] = [text('redfishChassis'), text('ipmiDevice')]
  return {
    redfish: {
      ...(url === undefined ? {} : { url }),
      ...(caFile === undefined ? {} : { caFile }),
      ...(fingerprint === undefined ? {} : { fingerprint }),
      ...(chassis === undefined ? {} : { chassis: chassis.split(',') }),
      insecure: values['redfishInsecure'] === true,
    },
    ...(ipmiDevice === undefined ? {} : { ipmiDevice }),
  }
}
