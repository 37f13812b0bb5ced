/** How a fake service presents its power, after the shapes of DMTF's public mock-ups. */
export type FakeRedfishShape = 'environment' | 'energy' | 'legacy' | 'sensors' | 'two-nodes'

/** A reading as the service has it in its cache. */
export interface FakeReading {
  readonly watts: number
  /** Since the service began. */
  readonly joules: number
  /** When, ISO 8601. */
  readonly time: string
}

/** What resources need to know. */
export interface FakeResourceContext {
  readonly shape: FakeRedfishShape
  readonly reading: FakeReading
  /** Digits of `EnergykWh` behind the point. */
  readonly energyDecimals: number
  /** `SensingInterval` of the sensors; `undefined`: not stated. */
  readonly sensingSeconds: number | undefined
  /** `Accuracy` of the sensors in percent; `undefined`: not stated. */
  readonly accuracyPercent: number | undefined
  /** Host name of the second node of `two-nodes`. */
  readonly hostName: string
}

const root = '/redfish/v1'
const link = (path: string): object => ({ '@odata.id': path })
const collection = (path: string, members: readonly string[]): object => ({
  '@odata.id': path,
  Name: 'Collection',
  'Members@odata.count': members.length,
  Members: members.map(link),
})

interface FakeChassis {
  readonly id: string
  readonly containedBy?: string
  readonly systems: readonly string[]
  /** Share of the reading. */
  readonly share: number
}

const chassisOf: Readonly<Record<FakeRedfishShape, readonly FakeChassis[]>> = {
  environment: [
    { id: '1U', systems: ['437XR1138R2'], share: 1 },
    { id: 'Board', containedBy: '1U', systems: [], share: 0.5 },
  ],
  energy: [{ id: '1U', systems: ['437XR1138R2'], share: 1 }],
  legacy: [{ id: 'Self', systems: ['Self'], share: 1 }],
  sensors: [{ id: 'chassis', systems: ['system'], share: 1 }],
  'two-nodes': [
    { id: 'Node1', systems: ['Node1'], share: 3 },
    { id: 'Node2', systems: ['Node2'], share: 1 },
  ],
}

function sensor(path: string, what: 'power' | 'energy', share: number, context: FakeResourceContext): object {
  const { reading, sensingSeconds, accuracyPercent } = context
  return {
    '@odata.id': path,
    '@odata.type': '#Sensor.v1_2_0.Sensor',
    Id: path.split('/').at(-1),
    Name: `Total ${what}`,
    PhysicalContext: 'Chassis',
    ReadingType: what === 'power' ? 'Power' : 'EnergykWh',
    ReadingUnits: what === 'power' ? 'W' : 'kW.h',
    Reading: what === 'power' ? share * reading.watts : kilowattHours(context),
    ReadingTime: reading.time,
    ...(sensingSeconds === undefined ? {} : { SensingInterval: `PT${sensingSeconds}S` }),
    ...(accuracyPercent === undefined ? {} : { Accuracy: accuracyPercent }),
    Status: { State: 'Enabled', Health: 'OK' },
  }
}

/** A counter never rounds up. */
function kilowattHours({ reading, energyDecimals }: FakeResourceContext): number {
  const scale = 10 ** energyDecimals
  // Some history before the service began.
  return Math.floor((1234.5 + reading.joules / 3.6e6) * scale) / scale
}

function chassisResource({ id, containedBy, systems }: FakeChassis, shape: FakeRedfishShape): object {
  const path = `${root}/Chassis/${id}`
  const resources: Readonly<Record<FakeRedfishShape, object>> = {
    environment: { EnvironmentMetrics: link(`${path}/EnvironmentMetrics`), Power: link(`${path}/Power`) },
    energy: { EnvironmentMetrics: link(`${path}/EnvironmentMetrics`) },
    legacy: { Power: link(`${path}/Power`) },
    sensors: { Sensors: link(`${path}/Sensors`) },
    'two-nodes': { EnvironmentMetrics: link(`${path}/EnvironmentMetrics`) },
  }
  return {
    '@odata.id': path,
    '@odata.type': '#Chassis.v1_15_0.Chassis',
    Id: id,
    Name: `Computer system chassis ${id}`,
    ChassisType: 'RackMount',
    ...resources[shape],
    Links: {
      ComputerSystems: systems.map((system) => link(`${root}/Systems/${system}`)),
      ...(containedBy === undefined ? {} : { ContainedBy: link(`${root}/Chassis/${containedBy}`) }),
    },
  }
}

function powerResource(path: string, { reading }: FakeResourceContext, share: number): object {
  return {
    '@odata.id': path,
    '@odata.type': '#Power.v1_6_0.Power',
    Id: 'Power',
    Name: 'Power',
    PowerControl: [
      { MemberId: '0', Name: 'CPU power', PhysicalContext: 'CPU', PowerConsumedWatts: (share * reading.watts) / 3 },
      {
        MemberId: '1',
        Name: 'System power control',
        PowerConsumedWatts: Math.round(share * reading.watts),
        PowerCapacityWatts: 800,
        PowerMetrics: { IntervalInMin: 30, MinConsumedWatts: 271, MaxConsumedWatts: 489, AverageConsumedWatts: 319 },
      },
    ],
  }
}

/** A resource of the service without the rights to it; `undefined` where there is none. */
export function fakeRedfishResource(path: string, context: FakeResourceContext): object | undefined {
  const { shape, reading, hostName } = context
  const all = chassisOf[shape]
  const [name = '', id = '', part = '', member = ''] = path.slice(root.length + 1).split('/')
  if (name === '') {
    return {
      '@odata.id': `${root}/`,
      RedfishVersion: '1.15.0',
      Chassis: link(`${root}/Chassis`),
      Systems: link(`${root}/Systems`),
    }
  }
  if (name === 'Systems') {
    if (!all.some(({ systems }) => systems.includes(id))) return undefined
    return { '@odata.id': path, Id: id, HostName: id === 'Node2' ? hostName : `other-${id.toLowerCase()}` }
  }
  if (name !== 'Chassis') return undefined
  if (id === '')
    return collection(
      path,
      all.map((chassis) => `${root}/Chassis/${chassis.id}`),
    )
  const chassis = all.find((one) => one.id === id)
  if (chassis === undefined) return undefined
  const own = `${root}/Chassis/${id}`
  if (part === '') return chassisResource(chassis, shape)
  if (part === 'Power' && (shape === 'legacy' || shape === 'environment'))
    return powerResource(path, context, chassis.share)
  const hasSensors = shape === 'environment' || shape === 'sensors'
  if (part === 'Sensors' && hasSensors) {
    const names = ['fan_speed', 'total_power']
    if (member === '')
      return collection(
        path,
        names.map((one) => `${own}/Sensors/${one}`),
      )
    if (member === 'total_power') return sensor(path, 'power', chassis.share, context)
    return member === 'fan_speed' ? { '@odata.id': path, Reading: 4200, ReadingType: 'Rotational' } : undefined
  }
  if (part !== 'EnvironmentMetrics') return undefined
  return {
    '@odata.id': path,
    '@odata.type': '#EnvironmentMetrics.v1_1_0.EnvironmentMetrics',
    Id: 'EnvironmentMetrics',
    Name: 'Chassis environment metrics',
    PowerWatts: {
      ...(hasSensors ? { DataSourceUri: `${own}/Sensors/total_power` } : {}),
      Reading: chassis.share * reading.watts,
    },
    ...(shape === 'energy' ? { EnergykWh: { Reading: kilowattHours(context) } } : {}),
  }
}
