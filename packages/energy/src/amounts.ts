import type { EnergyAmount, EnergyClass, EnergySplit, LedgerEntry } from '@swift/spec'

/** Nothing, known to be nothing. Not to be used for what is unavailable. */
export const zeroAmount: EnergyAmount = { nanojoules: 0n, lowNanojoules: 0n, highNanojoules: 0n }

/** Neither class is available. */
export const unavailableSplit: EnergySplit = { measured: undefined, modelled: undefined }

/** Sum of two amounts of the same class. Their errors are taken as fully correlated, which never narrows the interval. */
export function addAmounts(left: EnergyAmount, right: EnergyAmount): EnergyAmount {
  return {
    nanojoules: left.nanojoules + right.nanojoules,
    lowNanojoules: left.lowNanojoules + right.lowNanojoules,
    highNanojoules: left.highNanojoules + right.highNanojoules,
  }
}

function addOptional(left: EnergyAmount | undefined, right: EnergyAmount | undefined): EnergyAmount | undefined {
  if (left === undefined || right === undefined) return left ?? right
  return addAmounts(left, right)
}

/** Sum class by class: measured to measured, modelled to modelled. */
export function addSplits(left: EnergySplit, right: EnergySplit): EnergySplit {
  return {
    measured: addOptional(left.measured, right.measured),
    modelled: addOptional(left.modelled, right.modelled),
  }
}

/** A split that holds `amount` in one class. */
export function splitOf(energyClass: EnergyClass, amount: EnergyAmount): EnergySplit {
  return energyClass === 'measured'
    ? { measured: amount, modelled: undefined }
    : { measured: undefined, modelled: amount }
}

/** Rounded outwards, so that the interval never claims more than it knows. */
function spreadOf(nanojoules: bigint, permille: bigint): bigint {
  return (nanojoules * permille + 999n) / 1000n
}

/**
 * An amount with its interval: the source's own relative error, and what else is uncertain about the balance.
 * @param permille half-width of the source's interval in thousandths
 */
export function amountOf(nanojoules: bigint, permille: bigint, below: bigint, above: bigint): EnergyAmount {
  const spread = spreadOf(nanojoules, permille)
  const low = nanojoules - spread - below
  return {
    nanojoules,
    lowNanojoules: low > 0n ? low : 0n,
    highNanojoules: nanojoules + spread + above,
  }
}

/**
 * Sum of ledger entries by class.
 * @param entries balances to add
 * @param uncertaintyOf half-width of a source's interval as a fraction
 */
export function sumEntries(entries: Iterable<LedgerEntry>, uncertaintyOf: (source: string) => number): EnergySplit {
  let total = unavailableSplit
  const unbounded = { measured: 0n, modelled: 0n }
  for (const entry of entries) {
    const permille = BigInt(Math.round(uncertaintyOf(entry.source) * 1000))
    const amount = amountOf(entry.nanojoules, permille, entry.belowNanojoules, entry.aboveNanojoules)
    total = addSplits(total, splitOf(entry.energyClass, amount))
    unbounded[entry.energyClass] += entry.nanojoules - spreadOf(entry.nanojoules, permille) - entry.belowNanojoules
  }
  // One balance alone cannot be below 0; what it may lack can be in another one of the sum.
  const bounded = (amount: EnergyAmount | undefined, low: bigint): EnergyAmount | undefined =>
    amount && { ...amount, lowNanojoules: low > 0n ? low : 0n }
  return {
    measured: bounded(total.measured, unbounded.measured),
    modelled: bounded(total.modelled, unbounded.modelled),
  }
}
