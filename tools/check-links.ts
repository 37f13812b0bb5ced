// Every relative link in a Markdown file leads to a file or folder of the repository.
//   node tools/check-links.ts [root]
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { argv } from 'node:process'
import { listFiles } from './boundaries/source-files.ts'
import { repositoryRoot } from './repository-root.ts'

/** One line per link below `root` that leads nowhere. Anchors and web addresses are not followed. */
export function checkLinks(root: string): string[] {
  return listFiles(root, '.', ['.md']).flatMap((path) => {
    const prose = readFileSync(join(root, path), 'utf8').replaceAll(/```[\s\S]*?```|`[^`\n]*`/g, '')
    const targets = [...prose.matchAll(/\]\(([^)\s]+)\)|<img [^>]*src="([^"]+)"/g)].map(
      (match) => match[1] ?? match[2] ?? '',
    )
    return targets
      .filter((target) => !/^([a-z]+:|#)/.test(target))
      .filter((target) => !existsSync(join(root, dirname(path), target.split('#')[0] ?? '')))
      .map((target) => `${path}: the link to ${target} leads nowhere`)
  })
}

if (import.meta.main) {
  const problems = checkLinks(argv[2] ?? repositoryRoot)
  for (const line of problems) console.error(`error: ${line}`)
  console.log(problems.length === 0 ? 'links hold' : `${problems.length} broken link(s)`)
  process.exitCode = problems.length === 0 ? 0 : 1
}
