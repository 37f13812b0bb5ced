/** A non-negative fit. */
export interface LeastSquaresFit {
  /** One coefficient for each column, none below 0. */
  readonly coefficients: readonly number[]
  /** Share of the variance explained, 1 at best; `NaN` where the values do not vary. */
  readonly r2: number
  /** Root mean square of the residuals, in the unit of the values. */
  readonly residual: number
  /** Rows used. */
  readonly samples: number
}

/** Solves a small symmetric positive definite system; `undefined` where a pivot vanishes. */
function solve(matrix: readonly (readonly number[])[], right: readonly number[]): number[] | undefined {
  const size = right.length
  const rows = matrix.map((row, index) => [...row, right[index] ?? 0])
  for (let column = 0; column < size; column++) {
    let pivot = column
    for (let row = column + 1; row < size; row++) {
      if (Math.abs(rows[row]?.[column] ?? 0) > Math.abs(rows[pivot]?.[column] ?? 0)) pivot = row
    }
    const pivotRow = rows[pivot] as number[]
    rows[pivot] = rows[column] as number[]
    rows[column] = pivotRow
    const head = pivotRow[column] ?? 0
    if (Math.abs(head) < 1e-12) return undefined
    for (let row = column + 1; row < size; row++) {
      const target = rows[row] as number[]
      const factor = (target[column] ?? 0) / head
      for (let at = column; at <= size; at++) target[at] = (target[at] ?? 0) - factor * (pivotRow[at] ?? 0)
    }
  }
  const solution = Array.from({ length: size }, () => 0)
  for (let row = size - 1; row >= 0; row--) {
    const values = rows[row] as number[]
    let rest = values[size] ?? 0
    for (let at = row + 1; at < size; at++) rest -= (values[at] ?? 0) * (solution[at] ?? 0)
    solution[row] = rest / (values[row] ?? 1)
  }
  return solution
}

/**
 * Least squares with coefficients of at least 0 (Lawson and Hanson, Solving Least Squares Problems, 1974, chapter 23),
 * over normal equations of columns scaled to unit length. For a handful of columns.
 * @param rows one row for each observation
 * @param values what each row should give
 */
export function nonNegativeLeastSquares(
  rows: readonly (readonly number[])[],
  values: readonly number[],
): LeastSquaresFit {
  const width = rows[0]?.length ?? 0
  const lengths = Array.from({ length: width }, (_, column) => Math.hypot(...rows.map((row) => row[column] ?? 0)) || 1)
  const scaled = rows.map((row) => row.map((value, column) => value / (lengths[column] ?? 1)))
  const dot = (left: number, right: number): number =>
    scaled.reduce((sum, row) => sum + (row[left] ?? 0) * (row[right] ?? 0), 0)
  const gram = lengths.map((_, left) => lengths.map((_ignored, right) => dot(left, right)))
  const target = lengths.map((_, column) =>
    scaled.reduce((sum, row, index) => sum + (row[column] ?? 0) * (values[index] ?? 0), 0),
  )
  const size = Math.max(1, ...target.map(Math.abs))
  const solution = lengths.map(() => 0)
  const active = new Set<number>()
  for (let round = 0; round < 3 * width + 3; round++) {
    const gradient = target.map(
      (value, column) => value - solution.reduce((sum, known, at) => sum + (gram[column]?.[at] ?? 0) * known, 0),
    )
    const free = gradient.map((value, column) => (active.has(column) ? -Infinity : value))
    const best = free.indexOf(Math.max(...free))
    if (best < 0 || (free[best] ?? 0) <= 1e-10 * size) break
    active.add(best)
    for (;;) {
      const columns = [...active].sort((left, right) => left - right)
      const part = solve(
        columns.map((left) => columns.map((right) => gram[left]?.[right] ?? 0)),
        columns.map((column) => target[column] ?? 0),
      )
      if (part === undefined) {
        // A column that says nothing new.
        active.delete(best)
        solution[best] = 0
        break
      }
      if (part.every((value) => value > 0)) {
        solution.fill(0)
        for (const [index, column] of columns.entries()) solution[column] = part[index] ?? 0
        break
      }
      let step = 1
      for (const [index, column] of columns.entries()) {
        const next = part[index] ?? 0
        const known = solution[column] ?? 0
        if (next <= 0) step = Math.min(step, known / (known - next || 1))
      }
      for (const [index, column] of columns.entries()) {
        const known = solution[column] ?? 0
        solution[column] = known + step * ((part[index] ?? 0) - known)
        if ((solution[column] ?? 0) <= 1e-14 * size) {
          solution[column] = 0
          active.delete(column)
        }
      }
      if (active.size === 0) break
    }
  }
  const coefficients = solution.map((value, column) => value / (lengths[column] ?? 1))
  const mean = values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length)
  let squares = 0
  let total = 0
  for (const [index, row] of rows.entries()) {
    const value = values[index] ?? 0
    const fitted = row.reduce((sum, entry, column) => sum + entry * (coefficients[column] ?? 0), 0)
    squares += (value - fitted) ** 2
    total += (value - mean) ** 2
  }
  return {
    coefficients,
    r2: total > 0 ? 1 - squares / total : Number.NaN,
    residual: Math.sqrt(squares / Math.max(1, rows.length)),
    samples: rows.length,
  }
}
