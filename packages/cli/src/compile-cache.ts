import { mkdirSync, statSync } from 'node:fs'
import { enableCompileCache } from 'node:module'
import { homedir } from 'node:os'
import { isAbsolute, join } from 'node:path'

/** `$XDG_CACHE_HOME/swift/compiled`, else `~/.cache/swift/compiled`. */
function cacheFolder(): string {
  const given = process.env['XDG_CACHE_HOME'] ?? ''
  return join(isAbsolute(given) ? given : join(homedir(), '.cache'), 'swift', 'compiled')
}

/**
 * Keeps the compiled code of the program for its next start, by Node's own cache. Only in a folder that nobody else
 * can write, since what lies there is run; where there is none, every start compiles as before. Node's variables
 * `NODE_COMPILE_CACHE` (another folder) and `NODE_DISABLE_COMPILE_CACHE` go first.
 */
export function keepCompiledCode(): void {
  try {
    const folder = cacheFolder()
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    const { uid, mode } = statSync(folder)
    const isOwn = process.getuid === undefined || (uid === process.getuid() && (mode & 0o022) === 0)
    if (isOwn) enableCompileCache(folder)
  } catch {
    // A home that is missing or read-only: nothing is kept.
  }
}
