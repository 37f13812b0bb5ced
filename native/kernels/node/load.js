import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'

const require = createRequire(import.meta.url)

/** Name of this platform in the names of binaries and of the packages that carry them. */
function platformName() {
  const { platform, arch } = process
  if (platform === 'linux') {
    const musl = !process.report?.getReport().header.glibcVersionRuntime
    return `linux-${arch}-${musl ? 'musl' : 'gnu'}`
  }
  return platform === 'win32' ? `win32-${arch}-msvc` : `${platform}-${arch}`
}

function load() {
  const name = platformName()
  const local = fileURLToPath(new URL(`./swift-kernels.${name}.node`, import.meta.url))
  const candidates = [
    process.env.NAPI_RS_NATIVE_LIBRARY_PATH,
    existsSync(local) ? local : undefined,
    `@swift/kernels-${name}`,
  ]
  const failures = []
  for (const candidate of candidates) {
    if (!candidate) continue
    try {
      return require(candidate)
    } catch (error) {
      failures.push(`${candidate}: ${error.message}`)
    }
  }
  const error = new Error(
    `the native binary for ${name} could not be loaded. Tried:\n  ${failures.join('\n  ')}\nBuild it with \`npm run native\`, or install the package for this platform.`,
  )
  error.code = 'ERR_NATIVE_MISSING'
  throw error
}

let loaded

/** The binary: override, beside this file, platform package. Loaded at the first call, not at import. */
export function native() {
  loaded ??= load()
  return loaded
}
