import type { CarbonFactor, CarbonForecastPoint, CarbonProvider } from '@swift/spec'

/** A carbon provider that says what it is told to, for tests of schedules. */
export class ScriptedCarbon implements CarbonProvider {
  /** Its id. */
  readonly id: string = 'scripted'
  /** Grams per kWh at an instant. */
  gramsAt: (unixMs: number) => number
  /** What every answer fails with, once set. */
  error: Error | undefined
  /** Whether questions stay without an answer from now on. */
  isSilent = false
  /** Instants asked about. */
  readonly asked: number[] = []

  /** @param gramsAt - grams per kWh at an instant in milliseconds since the epoch */
  constructor(gramsAt: (unixMs: number) => number) {
    this.gramsAt = gramsAt
  }

  /** The factor of an instant. */
  async doFactor(zone: string, when: Date): Promise<CarbonFactor> {
    this.asked.push(when.getTime())
    await this.#answer()
    return {
      zone,
      gramsPerKilowattHour: this.gramsAt(when.getTime()),
      kind: 'location-average',
      source: 'a script',
      validFor: when.toISOString(),
      licence: 'none',
    }
  }

  /** Steps of five minutes from the one of `from`. */
  async doForecast(_zone: string, from: Date, until: Date): Promise<readonly CarbonForecastPoint[]> {
    await this.#answer()
    const stepMs = 300_000
    const first = Math.floor(from.getTime() / stepMs)
    const count = Math.max(1, Math.ceil(until.getTime() / stepMs) - first)
    return Array.from({ length: count }, (_, index) => {
      const startUnixMs = (first + index) * stepMs
      return { startUnixMs, endUnixMs: startUnixMs + stepMs, gramsPerKilowattHour: this.gramsAt(startUnixMs) }
    })
  }

  async #answer(): Promise<void> {
    if (this.isSilent) await new Promise(() => undefined)
    if (this.error !== undefined) throw this.error
  }
}
