import { ElectricityMapsProvider, StaticCarbonProvider, UkCarbonProvider, WattTimeProvider } from '@swift/energy'
import { SwiftError } from '@swift/spec'
import { FakeCarbonServer } from '@swift/testing'
import { describe, expect, it } from 'vitest'

// Longer than a busy machine makes a service on the loopback wait; only silence waits for its end, in a time of its own.
const quick = { backoffMs: 1, timeoutMs: 30_000 }

const codeOf = async (call: Promise<unknown>): Promise<string> => {
  try {
    await call
    return 'no error'
  } catch (error) {
    return SwiftError.isInstance(error) ? error.code : String(error)
  }
}

describe('Electricity Maps', () => {
  const provider = (server: FakeCarbonServer, token = server.token) =>
    new ElectricityMapsProvider({ ...quick, baseUrl: server.electricityMapsUrl, token })

  it('gives the latest, a past and the forecast intensity, with source and licence', async () => {
    await using server = await FakeCarbonServer.start({ gramsAt: (at) => (at < Date.now() - 7_200_000 ? 111 : 222) })
    const em = provider(server)
    expect(await em.doFactor('DEU', new Date())).toMatchObject({
      zone: 'DE',
      gramsPerKilowattHour: 222,
      kind: 'location-average',
    })
    const past = await em.doFactor('DE', new Date('2026-01-05T10:20:00Z'))
    expect(past).toMatchObject({ gramsPerKilowattHour: 111, validFor: '2026-01-05T10:00:00.000Z' })
    expect(past.source).toContain('estimated')
    const forecast = await em.doForecast('DE', new Date(), new Date(Date.now() + 6 * 3_600_000))
    expect(forecast.length).toBeGreaterThanOrEqual(6)
    for (const [index, point] of forecast.slice(1).entries()) {
      expect(point.startUnixMs).toBe(forecast[index]?.endUnixMs)
    }
  })

  it('asks once for the same hour, and again after a failure', async () => {
    await using server = await FakeCarbonServer.start()
    const em = provider(server)
    await Promise.all([em.doFactor('DE', new Date()), em.doFactor('DE', new Date())])
    await em.doFactor('DE', new Date())
    expect(server.requests).toHaveLength(1)
    const other = new ElectricityMapsProvider({
      ...quick,
      retries: 0,
      baseUrl: server.electricityMapsUrl,
      token: server.token,
    })
    server.failNext(1, 503)
    expect(await codeOf(other.doFactor('DE', new Date()))).toBe('ERR_CARBON_UNREACHABLE')
    expect((await other.doFactor('DE', new Date())).gramsPerKilowattHour).toBeGreaterThan(0)
  })

  it('codes an expired key, no key, an unknown zone and a limit of requests', async () => {
    await using server = await FakeCarbonServer.start()
    const em = provider(server)
    expect(await codeOf(em.doFactor('XX', new Date()))).toBe('ERR_CARBON_ZONE')
    server.failNext(3, 429, 0)
    expect(await codeOf(em.doFactor('DE', new Date()))).toBe('ERR_CARBON_RATE_LIMIT')
    expect(server.requests).toHaveLength(4)
    server.failNext(2, 429, 0)
    expect(await codeOf(em.doFactor('DE', new Date()))).toBe('no error')
    server.expireKeys()
    expect(await codeOf(em.doFactor('DE', new Date('2026-01-01T00:00:00Z')))).toBe('ERR_CARBON_KEY')
    expect(await codeOf(provider(server, '').doFactor('DE', new Date()))).toBe('ERR_CARBON_KEY')
  })

  it('codes a service that is silent, away or speaks something else', async () => {
    await using server = await FakeCarbonServer.start({ gramsAt: () => Number.NaN })
    expect(await codeOf(provider(server).doFactor('DE', new Date()))).toBe('ERR_CARBON_RESPONSE')
    server.fallSilent()
    const hasty = { retries: 0, timeoutMs: 50, token: 'x' }
    const silent = new ElectricityMapsProvider({ ...hasty, baseUrl: server.electricityMapsUrl })
    expect(await codeOf(silent.doFactor('DE', new Date()))).toBe('ERR_CARBON_UNREACHABLE')
    const away = new ElectricityMapsProvider({ ...hasty, baseUrl: 'http://127.0.0.1:1/v3' })
    expect(await codeOf(away.doFactor('DE', new Date()))).toBe('ERR_CARBON_UNREACHABLE')
  })
})

describe('WattTime', () => {
  const provider = (server: FakeCarbonServer) =>
    new WattTimeProvider({ ...quick, baseUrl: server.wattTimeUrl, ...server.account })

  it('logs in once, converts pounds per megawatt-hour, and says that the factor is marginal', async () => {
    await using server = await FakeCarbonServer.start({ gramsAt: () => 453.592 })
    const wattTime = provider(server)
    const factor = await wattTime.doFactor('CAISO_NORTH', new Date('2026-02-03T04:05:06Z'))
    expect(factor).toMatchObject({ kind: 'location-marginal', gramsPerKilowattHour: 453.592 })
    // 04:05:06 lies in the step that began at 04:05.
    expect(factor.validFor).toBe('2026-02-03T04:05:00.000Z')
    await wattTime.doForecast('CAISO_NORTH', new Date(), new Date(Date.now() + 3_600_000))
    expect(server.requests.filter((path) => path.endsWith('login'))).toHaveLength(1)
  })

  it('logs in again when the session ends, and codes a refused account and an unknown region', async () => {
    await using server = await FakeCarbonServer.start()
    const wattTime = provider(server)
    await wattTime.doFactor('CAISO_NORTH', new Date())
    server.endSessions()
    expect(await codeOf(wattTime.doFactor('CAISO_NORTH', new Date('2026-01-01T00:00:00Z')))).toBe('no error')
    expect(await codeOf(wattTime.doFactor('NOWHERE', new Date()))).toBe('ERR_CARBON_ZONE')
    server.expireKeys()
    expect(await codeOf(wattTime.doFactor('CAISO_NORTH', new Date('2026-01-02T00:00:00Z')))).toBe('ERR_CARBON_KEY')
  })
})

describe('UK Carbon Intensity', () => {
  it('gives actual and forecast half hours of Great Britain without a key, and no other zone', async () => {
    await using server = await FakeCarbonServer.start({ gramsAt: () => 140 })
    const uk = new UkCarbonProvider({ ...quick, baseUrl: server.ukUrl })
    const factor = await uk.doFactor('GBR', new Date('2026-01-01T10:15:00Z'))
    expect(factor).toMatchObject({ zone: 'GBR', gramsPerKilowattHour: 140, validFor: '2026-01-01T10:00:00.000Z' })
    expect(factor.source).toContain('actual')
    expect(await uk.doForecast('GB', new Date(), new Date(Date.now() + 3_600_000))).toHaveLength(3)
    expect(await codeOf(uk.doFactor('FRA', new Date()))).toBe('ERR_CARBON_ZONE')
  })
})

describe('the built-in factors', () => {
  it('know countries and subregions of the United States, and say what they are', async () => {
    const provider = new StaticCarbonProvider()
    const california = await provider.doFactor('usa-camx')
    // 438.15 lb/MWh
    expect(california).toMatchObject({ zone: 'USA-CAMX', gramsPerKilowattHour: 198.7, validFor: '2023' })
    expect((await provider.doFactor('FRA')).licence).toBe('CC BY 4.0')
    expect(await codeOf(provider.doFactor('USA-XXXX'))).toBe('ERR_CARBON_ZONE')
  })
})
