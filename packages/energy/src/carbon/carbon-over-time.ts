import { type CarbonFactor, type CarbonProvider, type EnergyClass, SwiftError } from '@swift/spec'
import type { LedgerGain, LedgerSeries } from '../read-series.ts'

/** Energy of a stretch of time. */
export interface CarbonStretch {
  /** First millisecond since the epoch. */
  readonly startUnixMs: number
  readonly endUnixMs: number
  /** What each account gained in it; a negative gain is energy that another account of the source was given. */
  readonly gains: readonly LedgerGain[]
}

/** Carbon of energy that was used at known times. PUE is not in it. */
export interface CarbonOverTime {
  /** Grams by class; `undefined` where nothing of the class was used. */
  readonly measuredGrams: number | undefined
  readonly modelledGrams: number | undefined
  /** Grams by account of a source, under {@link accountKey}. */
  readonly gramsByAccount: ReadonlyMap<string, number>
  /** The mean intensity, weighted by energy, with the range of time in `validFor`. */
  readonly factor: CarbonFactor
  /** Every factor used, in order of time, each once. */
  readonly factors: readonly CarbonFactor[]
}

/** Names an account of a source. */
export function accountKey({ source, kind, path }: Pick<LedgerGain, 'source' | 'kind' | 'path'>): string {
  return `${source}\n${kind}/${path}`
}

/** No provider here is finer than five minutes, and most are not finer than this; stretches of one slot share a factor. */
const slotMs = 300_000

/** Questions under way at once: a run of days has hundreds of slots, and services count requests. */
const questionsAtOnce = 8

const nanojoulesPerKilowattHour = 3.6e15

/** The stretches of a ledger's series, in order of time; what a part moved comes before what it gained. */
export function stretchesOf({ parts, points }: Pick<LedgerSeries, 'parts' | 'points'>): CarbonStretch[] {
  return parts.flatMap(({ startedUnixMs, moved }, index) => [
    ...(moved.length === 0 ? [] : [{ startUnixMs: startedUnixMs, endUnixMs: startedUnixMs, gains: moved }]),
    ...points.filter(({ part }) => part === index),
  ])
}

function slotOf({ startUnixMs, endUnixMs }: CarbonStretch): number {
  return Math.floor((startUnixMs + endUnixMs) / 2 / slotMs)
}

async function askFactors(
  slots: readonly number[],
  provider: CarbonProvider,
  zone: string,
): Promise<ReadonlyMap<number, CarbonFactor>> {
  const factors = new Map<number, CarbonFactor>()
  const ask = async (slot: number): Promise<void> => {
    factors.set(slot, await provider.doFactor(zone, new Date(slot * slotMs)))
  }
  const [first, ...rest] = slots
  // Alone, so that a key that is refused is refused once.
  if (first !== undefined) await ask(first)
  for (let start = 0; start < rest.length; start += questionsAtOnce) {
    await Promise.all(rest.slice(start, start + questionsAtOnce).map(ask))
  }
  return factors
}

interface Balance {
  readonly energyClass: EnergyClass
  nanojoules: bigint
  grams: number
}

/** Books one source's gains of one stretch: what is given from account to account keeps the grams that it was spent at. */
function book(gains: readonly LedgerGain[], gramsPerKilowattHour: number, balances: Map<string, Balance>): void {
  const gramsOf = (nanojoules: bigint): number =>
    (Number(nanojoules) / nanojoulesPerKilowattHour) * gramsPerKilowattHour
  let [given, taken, takenGrams] = [0n, 0n, 0]
  for (const gain of gains) {
    const key = accountKey(gain)
    const balance = balances.get(key) ?? { energyClass: gain.energyClass, nanojoules: 0n, grams: 0 }
    balances.set(key, balance)
    if (gain.nanojoules >= 0n) {
      given += gain.nanojoules
      continue
    }
    const away = -gain.nanojoules
    const grams = balance.nanojoules > 0n ? (balance.grams * Number(away)) / Number(balance.nanojoules) : gramsOf(away)
    balance.grams -= grams
    balance.nanojoules -= away
    taken += away
    takenGrams += grams
  }
  if (given === 0n) return
  const grams = given >= taken ? takenGrams + gramsOf(given - taken) : (takenGrams * Number(given)) / Number(taken)
  for (const gain of gains) {
    const balance = balances.get(accountKey(gain))
    if (balance === undefined || gain.nanojoules <= 0n) continue
    balance.grams += (grams * Number(gain.nanojoules)) / Number(given)
    balance.nanojoules += gain.nanojoules
  }
}

function meanFactor(factors: readonly CarbonFactor[], balances: Iterable<Balance>): CarbonFactor {
  let [kilowattHours, grams] = [0, 0]
  for (const balance of balances) {
    kilowattHours += Number(balance.nanojoules) / nanojoulesPerKilowattHour
    grams += balance.grams
  }
  const [first, last] = [factors[0] as CarbonFactor, factors.at(-1) as CarbonFactor]
  if (factors.length === 1) return first
  const plain = factors.reduce((sum, { gramsPerKilowattHour }) => sum + gramsPerKilowattHour, 0) / factors.length
  return {
    ...first,
    gramsPerKilowattHour: kilowattHours > 0 ? grams / kilowattHours : plain,
    source: [...new Set(factors.map(({ source }) => source))].join(' + '),
    validFor: `${first.validFor} … ${last.validFor}`,
  }
}

/**
 * Joins energy with the intensity that was valid when it was used, stretch by stretch.
 * @param stretches in order of time
 * @throws `ERR_CARBON_KIND` when the provider mixes averages with marginal values, and what it throws itself
 */
export async function carbonOverTime(
  stretches: readonly CarbonStretch[],
  provider: CarbonProvider,
  zone: string,
): Promise<CarbonOverTime> {
  const slots = [...new Set(stretches.map(slotOf))]
  const bySlot = await askFactors(slots, provider, zone)
  const factors: CarbonFactor[] = []
  for (const slot of slots.sort((left, right) => left - right)) {
    const factor = bySlot.get(slot) as CarbonFactor
    const isKnown = factors.some(
      ({ validFor, gramsPerKilowattHour }) =>
        validFor === factor.validFor && gramsPerKilowattHour === factor.gramsPerKilowattHour,
    )
    if (!isKnown) factors.push(factor)
  }
  const [first] = factors
  const other = factors.find(({ kind }) => kind !== first?.kind)
  if (first === undefined || other !== undefined) {
    throw new SwiftError({
      code: 'ERR_CARBON_KIND',
      asked: `Carbon over time in ${zone} from ${provider.id}`,
      found: first === undefined ? 'no stretch of time' : `factors of kind ${first.kind} and ${other?.kind}`,
      remedy: 'Give energy over time, and a provider of one kind of factor',
    })
  }
  const balances = new Map<string, Balance>()
  for (const stretch of stretches) {
    const { gramsPerKilowattHour } = bySlot.get(slotOf(stretch)) as CarbonFactor
    for (const gains of Map.groupBy(stretch.gains, ({ source }) => source).values()) {
      book(gains, gramsPerKilowattHour, balances)
    }
  }
  const gramsOfClass = (energyClass: EnergyClass): number | undefined => {
    const some = [...balances.values()].filter((balance) => balance.energyClass === energyClass)
    return some.length === 0 ? undefined : some.reduce((sum, { grams }) => sum + grams, 0)
  }
  return {
    measuredGrams: gramsOfClass('measured'),
    modelledGrams: gramsOfClass('modelled'),
    gramsByAccount: new Map([...balances].map(([key, { grams }]) => [key, grams])),
    factor: meanFactor(factors, balances.values()),
    factors,
  }
}
