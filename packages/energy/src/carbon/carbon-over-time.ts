import {
  type CarbonFactor,
  type CarbonFactorKind,
  type CarbonProvider,
  type EnergyClass,
  SwiftError,
} from '@swift/spec'

/** Energy of a stretch of time. */
export interface CarbonStretch {
  /** First millisecond since the epoch. */
  readonly startUnixMs: number
  readonly endUnixMs: number
  /** What was gained in it; several gains of one class add up. */
  readonly gains: readonly { readonly energyClass: EnergyClass; readonly nanojoules: bigint }[]
}

/** Carbon of energy that was used at known times. */
export interface CarbonOverTime {
  /** Grams by class; `undefined` where nothing of the class was used. */
  readonly measuredGrams: number | undefined
  readonly modelledGrams: number | undefined
  readonly kind: CarbonFactorKind
  /** Every factor used, in order of time, each once. */
  readonly factors: readonly CarbonFactor[]
}

/** No provider here is finer than five minutes, and most are not finer than this; stretches of one slot share a factor. */
const slotMs = 300_000

/**
 * Joins energy with the intensity that was valid when it was used, stretch by stretch.
 * @param pue power usage effectiveness. Default 1
 * @throws `ERR_CARBON_KIND` when the provider mixes averages with marginal values, and what it throws itself
 */
export async function carbonOverTime(
  stretches: readonly CarbonStretch[],
  provider: CarbonProvider,
  zone: string,
  pue: number = 1,
): Promise<CarbonOverTime> {
  const grams: Record<EnergyClass, number | undefined> = { measured: undefined, modelled: undefined }
  const factors: CarbonFactor[] = []
  const bySlot = new Map<number, Promise<CarbonFactor>>()
  for (const { startUnixMs, endUnixMs, gains } of stretches) {
    const slot = Math.floor((startUnixMs + endUnixMs) / 2 / slotMs)
    const asked = bySlot.get(slot) ?? provider.doFactor(zone, new Date(slot * slotMs))
    bySlot.set(slot, asked)
    const factor = await asked
    const isNew = factors.every(
      ({ validFor, gramsPerKilowattHour }) =>
        validFor !== factor.validFor || gramsPerKilowattHour !== factor.gramsPerKilowattHour,
    )
    if (isNew) factors.push(factor)
    for (const { energyClass, nanojoules } of gains) {
      const added = (Number(nanojoules) / 3.6e15) * factor.gramsPerKilowattHour * pue
      grams[energyClass] = (grams[energyClass] ?? 0) + added
    }
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
  return { measuredGrams: grams.measured, modelledGrams: grams.modelled, kind: first.kind, factors }
}
