import type { DashboardData } from '../run-data.ts'
import { findRuns } from './find-runs.ts'
import { checkCarbon, type CarbonOptions } from './read-energy.ts'
import { readRun } from './read-run.ts'

/**
 * Reads everything the page shows.
 * @param paths folders of runs, or of several runs
 * @throws `ERR_RUN_MISSING`, `ERR_RUN_NONE`, `ERR_ENERGY_PUE`, and what the carbon provider throws for an unknown zone; what is wrong inside a run is a problem in its data
 */
export async function readDashboard(
  paths: readonly string[],
  mode: DashboardData['mode'],
  carbon: CarbonOptions = {},
): Promise<DashboardData> {
  await checkCarbon(carbon)
  const found = await findRuns(paths)
  const runs = []
  for (const reference of found.runs) runs.push(await readRun(reference, carbon))
  return { mode, madeUnixMs: Date.now(), runs, problems: found.problems }
}
