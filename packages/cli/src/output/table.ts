const numeric = /^[-+~≈]?[\d.,]+(\s?[%a-zA-Z/]+)?$/

/** Aligned columns; those that hold nothing but numbers to the right. */
export function formatTable(rows: readonly (readonly string[])[], gap = 2): string {
  const count = Math.max(0, ...rows.map((row) => row.length))
  const columns = Array.from({ length: count }, (_, column) => {
    const cells = rows.map((row) => row[column] ?? '').filter((cell) => cell !== '')
    return {
      width: Math.max(0, ...cells.map((cell) => cell.length)),
      isNumeric: cells.length > 0 && cells.every((cell) => numeric.test(cell)),
    }
  })
  const cell = (text: string, column: number): string => {
    const { width = 0, isNumeric = false } = columns[column] ?? {}
    return isNumeric ? text.padStart(width) : text.padEnd(width)
  }
  return rows.map((row) => row.map(cell).join(' '.repeat(gap)).trimEnd()).join('\n')
}
