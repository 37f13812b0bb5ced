/** Edits (insert, delete, replace, swap of neighbours) between two words; Damerau-Levenshtein, restricted. */
function editDistance(left: string, right: string): number {
  const width = right.length + 1
  const rows = Array.from({ length: left.length + 1 }, (_, row) => {
    const line = new Int32Array(width)
    line[0] = row
    return line
  })
  const at = (row: number, column: number): number => rows[row]?.[column] ?? 0
  for (let column = 0; column < width; column += 1) (rows[0] as Int32Array)[column] = column
  for (let row = 1; row <= left.length; row += 1) {
    const line = rows[row] as Int32Array
    for (let column = 1; column < width; column += 1) {
      const same = left[row - 1] === right[column - 1]
      let best = Math.min(at(row - 1, column) + 1, at(row, column - 1) + 1, at(row - 1, column - 1) + (same ? 0 : 1))
      const swapped = left[row - 1] === right[column - 2] && left[row - 2] === right[column - 1]
      if (row > 1 && column > 1 && swapped) best = Math.min(best, at(row - 2, column - 2) + 1)
      line[column] = best
    }
  }
  return at(left.length, right.length)
}

function canonical(name: string): string {
  return name.toLowerCase().replaceAll(/[^a-z0-9]/g, '')
}

/**
 * The known name a misspelt one most likely means, or undefined when none is close. Case, dashes and underscores do
 * not count, so `lora_rank` and `learning-rate` find their camelCase names.
 */
export function nearestName(name: string, known: Iterable<string>): string | undefined {
  const asked = canonical(name)
  let best: { readonly name: string; readonly distance: number } | undefined
  for (const candidate of known) {
    const target = canonical(candidate)
    // A name that begins or ends with the other is a likelier slip than as many edits elsewhere.
    const contained =
      asked.length >= 3 && (target.startsWith(asked) || target.endsWith(asked) || asked.startsWith(target))
    const distance = contained ? Math.min(2, editDistance(asked, target)) : editDistance(asked, target)
    if (best === undefined || distance < best.distance) best = { name: candidate, distance }
  }
  return best !== undefined && best.distance <= Math.max(2, Math.floor(asked.length / 3)) ? best.name : undefined
}
