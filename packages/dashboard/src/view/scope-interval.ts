import type { EnergyClass } from '@swift/spec'
import type { AccountEntry, Quantity } from '../run-data.ts'
import type { StackScope } from './stack.ts'

function belongs({ kind, path }: AccountEntry, scope: StackScope): boolean {
  if (scope === 'machine') return true
  return kind === 'phase' || (scope === 'phases' && kind === 'idle' && path !== '')
}

/**
 * Joules of what a stack shows, with the interval. The intervals of accounts and classes are added as fully correlated,
 * which never narrows them.
 * @param energyClass one class alone; default: both
 */
export function scopeInterval(
  accounts: readonly AccountEntry[],
  scope: StackScope,
  energyClass?: EnergyClass,
): Quantity {
  let sum: Quantity = { value: 0, low: 0, high: 0 }
  for (const account of accounts) {
    if (!belongs(account, scope)) continue
    for (const name of ['measured', 'modelled'] as const) {
      const quantity = account.energy[name]
      if (quantity === undefined || (energyClass !== undefined && energyClass !== name)) continue
      sum = { value: sum.value + quantity.value, low: sum.low + quantity.low, high: sum.high + quantity.high }
    }
  }
  return sum
}
