import { scheduleOptions } from '@swift/energy'
import type { OptionDefinition, OptionTable } from '@swift/spec'

/** What carbon is derived from, wherever a command derives it. */
export const carbonOptions: Readonly<Record<'zone' | 'pue', OptionDefinition>> = {
  zone: scheduleOptions.zone,
  pue: {
    type: 'number',
    default: 1,
    minimum: 1,
    maximum: 10,
    description: 'Power usage effectiveness of the building; only derived figures use it.',
  },
}

/** Options of all actions of `swift energy`; each action says which it reads. */
export const energyOptions: OptionTable = {
  per: {
    type: 'string',
    default: 'epoch',
    choices: ['epoch', 'phase', 'account', 'path', 'device'],
    description: 'Rows of a report.',
  },
  compare: {
    type: 'boolean',
    default: false,
    description: 'report: set two runs against each other, row by row: swift energy report --compare A B.',
  },
  zone: carbonOptions.zone,
  carbon: scheduleOptions.carbon,
  carbonFallback: {
    type: 'boolean',
    default: false,
    description: 'Use the built-in yearly factor, and say so, where the provider fails. Without it that is an error.',
  },
  pue: carbonOptions.pue,
  price: { type: 'string', description: 'Price of a kWh with its currency, e.g. 0.30EUR.' },
  water: {
    type: 'number',
    minimum: 0,
    description: 'Litres of water for a kWh, for derived figures.',
  },
  embodied: {
    type: 'string',
    description: 'Carbon of making the hardware and its life, e.g. 164kg/4y, or 164kg/4y*0.5 for half of it.',
  },
  calibration: {
    type: 'string',
    description: 'Calibration file to apply to measured figures (report), or to write (calibrate).',
  },
  tokens: {
    type: 'integer',
    minimum: 1,
    derived: "the run's own count",
    description: 'Tokens to divide the energy by, for J/token.',
  },
  format: {
    type: 'string',
    default: 'jsonl',
    choices: ['jsonl', 'csv', 'prometheus', 'sci', 'sci-markdown', 'codecarbon'],
    description: 'export: what to write.',
  },
  out: {
    type: 'string',
    derived: 'run: output/energy-<date>-<time>; export: standard output',
    description: 'Folder of the new ledger (run, merge) or file to write (export).',
  },
  budget: {
    type: 'string',
    description:
      'run: limit that ends the command, e.g. 0.5kWh or 2MJ; "soft 0.4kWh" warns, and sets the soft limits of powerLimit.',
  },
  powerLimit: scheduleOptions.powerLimit,
  duration: { ...scheduleOptions.duration, default: '1h' },
  deadline: scheduleOptions.deadline,
  redfish: {
    type: 'string',
    derived: 'SWIFT_REDFISH_URL, else none',
    description:
      'run, doctor, sources: address of the management controller that measures this server, e.g. https://10.0.0.7. Credentials: SWIFT_REDFISH_USER and SWIFT_REDFISH_PASSWORD, or SWIFT_REDFISH_TOKEN.',
  },
  redfishChassis: {
    type: 'string',
    derived: 'SWIFT_REDFISH_CHASSIS, else the one that is this machine',
    description: 'run, doctor, sources: ids of the chassis to count, separated by commas.',
  },
  redfishFingerprint: {
    type: 'string',
    derived: 'SWIFT_REDFISH_FINGERPRINT',
    description: "run, doctor, sources: SHA-256 of the controller's certificate, which pins it.",
  },
  redfishCaFile: {
    type: 'string',
    derived: 'SWIFT_REDFISH_CA_FILE',
    description: "run, doctor, sources: PEM file of the authority that signed the controller's certificate.",
  },
  redfishInsecure: {
    type: 'boolean',
    default: false,
    description:
      'run, doctor, sources: check no certificate of the controller. Anyone in between can read the password.',
  },
  ipmiDevice: {
    type: 'string',
    derived: 'SWIFT_IPMI_DEVICE, else /dev/ipmi0',
    description: "run, doctor, sources: device of this server's management controller, or none.",
  },
}
