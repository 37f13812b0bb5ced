import { readFile } from 'node:fs/promises'
import { basename } from 'node:path'
import type { RunProblem } from '../run-data.ts'
import { asObject, type JsonObject } from './json-value.ts'

/**
 * A JSON object from a file. A missing file is undefined; an unreadable or damaged one is undefined and a problem.
 */
export async function readJsonFile(path: string, problems: RunProblem[]): Promise<JsonObject | undefined> {
  const name = basename(path)
  const remedy = `Restore ${name} from a copy, or remove it: the rest of the run is shown without it.`
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? String(error)
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined
    problems.push({ severity: 'error', code: 'ERR_RUN_FILE', found: `${name} cannot be read: ${code}.`, remedy })
    return undefined
  }
  try {
    const value = asObject(JSON.parse(text))
    if (value !== undefined) return value
    problems.push({ severity: 'error', code: 'ERR_RUN_FILE', found: `${name} holds no JSON object.`, remedy })
  } catch {
    problems.push({ severity: 'error', code: 'ERR_RUN_FILE', found: `${name} is not JSON.`, remedy })
  }
  return undefined
}
