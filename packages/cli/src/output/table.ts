/** Aligned columns; numbers-like cells to the right. */
export function formatTable(rows: readonly (readonly string[])[], gap = 2): string {
  const columns = Math.max(0, ...rows.map((row) => row.length))
  const widths = Array.from({ length: columns }, (_, column) =>
    Math.max(0, ...rows.map((row) => (row[column] ?? '').length)),
  )
  const numeric = /^[-+~≈]?[\d.,]+(\s?[%a-zA-Z/]+)?$/
  return rows
    .map((row) =>
      row
        .map((cell, column) => {
          if (column === row.length - 1 && !numeric.test(cell)) return cell
          return numeric.test(cell) ? cell.padStart(widths[column] ?? 0) : cell.padEnd(widths[column] ?? 0)
        })
        .join(' '.repeat(gap))
        .trimEnd(),
    )
    .join('\n')
}
