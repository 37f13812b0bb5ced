interface Column {
  /** Nanojoules per stretch; changed in place. */
  readonly nanojoules: bigint[]
}

const sum = (values: readonly bigint[]): bigint => values.reduce((total, value) => total + value, 0n)

/** Gives `amount` from stretch `from` to stretch `to`, out of the columns that gained in `from`, in proportion. */
function giveBack(columns: readonly Column[], amount: bigint, from: number, to: number): void {
  const gains = columns.map(({ nanojoules }) => {
    const value = nanojoules[from] ?? 0n
    return value > 0n ? value : 0n
  })
  let rest = amount
  let left = sum(gains)
  for (const [index, { nanojoules }] of columns.entries()) {
    const gain = gains[index] ?? 0n
    if (gain === 0n || left === 0n) continue
    // Each takes its share of what is left, so that the last takes the remainder.
    const share = (rest * gain) / left
    nanojoules[from] = (nanojoules[from] ?? 0n) - share
    nanojoules[to] = (nanojoules[to] ?? 0n) + share
    rest -= share
    left -= gain
  }
}

/**
 * A ledger may divide energy between phases better some seconds later; the journal then shows a loss on one account and
 * a gain on others in the stretch in which that was found out, which is not the stretch it belongs to. This puts both
 * back to the latest earlier stretches in which the losing account had energy. Every stretch keeps its sum, every
 * account keeps its sum, and no account loses energy as time goes on.
 * @param columns accounts of one class of energy
 */
export function placeCorrections(columns: readonly Column[]): void {
  const length = columns[0]?.nanojoules.length ?? 0
  for (let at = 0; at < length; at++) {
    for (const { nanojoules } of columns) {
      for (let before = at - 1; before >= 0 && (nanojoules[at] ?? 0n) < 0n; before--) {
        const debt = -(nanojoules[at] ?? 0n)
        const there = nanojoules[before] ?? 0n
        const taken = there < debt ? there : debt
        if (taken <= 0n) continue
        nanojoules[before] = there - taken
        giveBack(columns, taken, at, before)
        nanojoules[at] = taken - debt
      }
    }
  }
}
