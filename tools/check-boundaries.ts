// The rules of the house that no compiler checks: who may import whom, what a package may export, how long a file may be.
//   node tools/check-boundaries.ts [root]
import { argv } from 'node:process'
import { checkFiles } from './boundaries/check-files.ts'
import { checkImports } from './boundaries/check-imports.ts'
import { checkManifests } from './boundaries/check-manifests.ts'
import { readWorkspace } from './boundaries/workspace.ts'
import { repositoryRoot } from './repository-root.ts'

/** Everything under `root` that breaks a rule, one line each; `notes` are worth reading and break none. */
export function checkBoundaries(root: string): { problems: string[]; notes: string[] } {
  const workspace = readWorkspace(root)
  const files = checkFiles(root)
  return {
    problems: [...checkManifests(root, workspace), ...checkImports(root, workspace), ...files.problems],
    notes: [
      `${workspace.length} packages; median source file ${files.medianLines} lines`,
      ...files.long.map(({ path, lines }) => `long file (${lines} lines, above 400 needs a reason): ${path}`),
    ],
  }
}

if (import.meta.main) {
  const { problems, notes } = checkBoundaries(argv[2] ?? repositoryRoot)
  for (const line of notes) console.log(line)
  for (const line of problems) console.error(`error: ${line}`)
  console.log(problems.length === 0 ? 'boundaries hold' : `${problems.length} problem(s)`)
  process.exitCode = problems.length === 0 ? 0 : 1
}
