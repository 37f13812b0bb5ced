import { SwiftError } from '@swift/spec'

/** What a limit is counted in. */
export type BudgetQuantity = 'joules' | 'grams' | 'money' | 'joulesPerToken'

/** One limit of a budget. */
export interface BudgetLimit {
  readonly quantity: BudgetQuantity
  /** Joules, grams CO2e, money, or joules per token. */
  readonly limit: number
  /** A soft limit is told; a hard one ends the run after its step. */
  readonly kind: 'soft' | 'hard'
  /** As written, for messages. */
  readonly text: string
  /** For money: what a kWh costs. */
  readonly pricePerKilowattHour: number | undefined
}

const joulesOf: Readonly<Record<string, number>> = {
  J: 1,
  kJ: 1e3,
  MJ: 1e6,
  GJ: 1e9,
  Wh: 3600,
  kWh: 3.6e6,
  MWh: 3.6e9,
}

const gramsOf: Readonly<Record<string, number>> = { g: 1, kg: 1000, gCO2e: 1, kgCO2e: 1000, tCO2e: 1e6 }

function refuse(text: string, found: string): SwiftError {
  return new SwiftError({
    code: 'ERR_ENERGY_BUDGET',
    asked: `The energy budget ${JSON.stringify(text)}`,
    found,
    remedy:
      'Write limits such as 0.5kWh, 2MJ, 300gCO2e, 2EUR@0.30 (at 0.30 EUR per kWh) or 0.02J/token, separated by commas; "soft" in front only warns',
  })
}

function parseLimit(whole: string, part: string): BudgetLimit {
  const [, soft, digits, rest = ''] = /^(soft\s+)?(\d+(?:\.\d+)?(?:e[+-]?\d+)?)\s*(.+)$/.exec(part) ?? []
  const limit = Number(digits)
  if (digits === undefined || !(limit > 0)) throw refuse(whole, `${JSON.stringify(part)} is not an amount above 0`)
  const kind = soft === undefined ? 'hard' : 'soft'
  const common = { kind, text: part, pricePerKilowattHour: undefined } as const
  if (/^J\/tok(en)?$/.test(rest)) return { ...common, quantity: 'joulesPerToken', limit }
  const joules = joulesOf[rest]
  if (joules !== undefined) return { ...common, quantity: 'joules', limit: limit * joules }
  const grams = gramsOf[rest]
  if (grams !== undefined) return { ...common, quantity: 'grams', limit: limit * grams }
  const [, , price] = /^([A-Za-z€$£¥]+)\s*@\s*(\d+(?:\.\d+)?)$/.exec(rest) ?? []
  if (price !== undefined && Number(price) > 0) {
    return { ...common, quantity: 'money', limit, pricePerKilowattHour: Number(price) }
  }
  throw refuse(whole, `${JSON.stringify(rest)} is no unit of a budget`)
}

/**
 * Reads a budget: `0.5kWh`, `soft 0.4kWh, 0.5kWh`, `300gCO2e`, `2EUR@0.30`, `0.02J/token`.
 * @throws `ERR_ENERGY_BUDGET`
 */
export function parseBudget(text: string): readonly BudgetLimit[] {
  const parts = text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')
  if (parts.length === 0) throw refuse(text, 'no limit')
  return parts.map((part) => parseLimit(text, part))
}
