import { SwiftError } from '@swift/spec'
import { expectedTensors, headPath } from './weight-plan.ts'
import type { Checkpoint } from './read-checkpoint.ts'

const listed = 4

function list(title: string, names: readonly string[]): string[] {
  if (names.length === 0) return []
  const more = names.length > listed ? ` and ${names.length - listed} more` : ''
  return [`${title}: ${names.slice(0, listed).join(', ')}${more}`]
}

/** Names that a checkpoint may hold without being used: buffers of old versions, and a copy of a tied head. */
function isIgnorable(name: string, tiedHead: boolean): boolean {
  return name.endsWith('.rotary_emb.inv_freq') || (tiedHead && name === `${headPath}.weight`)
}

/**
 * Compares the weights of a checkpoint with what its configuration needs, before anything is loaded.
 * @param isQuantized - whether the linear weight of that name is stored in a weight format, whose shape is its quantizer's
 * @throws `ERR_WEIGHTS_MISMATCH` naming missing, unexpected and misshapen tensors
 */
export function checkWeights({ folder, config, weights }: Checkpoint, isQuantized: (name: string) => boolean): void {
  const expected = expectedTensors(config)
  const missing: string[] = []
  const misshapen: string[] = []
  for (const [name, shape] of expected) {
    const entry = weights.entry(name)
    if (entry === undefined) missing.push(name)
    else if (!isQuantized(name) && entry.shape.join() !== shape.join()) {
      misshapen.push(`${name} is [${entry.shape.join(', ')}] instead of [${shape.join(', ')}]`)
    }
  }
  const owner = (name: string): boolean =>
    [...expected.keys()].some((known) => name.startsWith(`${known}.`) && isQuantized(known))
  const unexpected = weights
    .names()
    .filter((name) => !expected.has(name) && !isIgnorable(name, config.tiedHead) && !owner(name))
  if (missing.length + misshapen.length + unexpected.length === 0) return
  throw new SwiftError({
    code: 'ERR_WEIGHTS_MISMATCH',
    asked: `The weights of ${folder} for its config.json (${config.architecture})`,
    found: [...list('missing', missing), ...list('wrong shape', misshapen), ...list('unexpected', unexpected)].join(
      '; ',
    ),
    remedy: 'Check that config.json and the weights belong together and that no shard is missing',
    details: { missing, misshapen, unexpected },
  })
}
