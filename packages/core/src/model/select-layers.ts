import { SwiftError, type LinearLayer } from '@swift/spec'

/** Layers by name, as PEFT reads `target_modules`. */
export type LayerPattern = readonly string[] | string

function matches(path: string, pattern: LayerPattern): boolean {
  if (typeof pattern !== 'string') return pattern.some((name) => path === name || path.endsWith(`.${name}`))
  return new RegExp(`^(?:${pattern})$`).test(path)
}

/**
 * The layers an adapter goes on: `all-linear` is all given; a list names exact paths or last parts of them; any other
 * string is a regular expression over whole paths. The rule is PEFT's.
 * @throws `ERR_ADAPTER_TARGETS` when nothing matches, or an entry of the list matches nothing
 */
export function selectLayers<Layer extends Pick<LinearLayer, 'path'>>(
  layers: readonly Layer[],
  targets: LayerPattern,
  excluded: LayerPattern = [],
): readonly Layer[] {
  const isAll =
    targets === 'all-linear' || (Array.isArray(targets) && targets.length === 1 && targets[0] === 'all-linear')
  const selected = (isAll ? layers : layers.filter(({ path }) => matches(path, targets))).filter(
    ({ path }) => !matches(path, excluded),
  )
  const idle =
    isAll || typeof targets === 'string'
      ? []
      : targets.filter((name) => !layers.some(({ path }) => matches(path, [name])))
  if (selected.length > 0 && idle.length === 0) return selected
  const names = [...new Set(layers.map(({ path }) => path.slice(path.lastIndexOf('.') + 1)))]
  throw new SwiftError({
    code: 'ERR_ADAPTER_TARGETS',
    asked: `An adapter on targetModules ${JSON.stringify(targets)}`,
    found: idle.length > 0 ? `no linear layer is called ${idle.join(' or ')}` : 'no linear layer matches',
    remedy: `Linear layers of this model end in ${names.join(', ')}; all-linear is all of them`,
    details: { targets, names },
  })
}
