/** Python's `str.strip(characters)`: both ends, left or right. */
function strip(text: unknown, characters: unknown, left: boolean, right: boolean): string {
  const whole = String(text)
  const set = new Set(String(characters))
  let start = 0
  let end = whole.length
  if (left) while (start < end && set.has(whole[start] as string)) start += 1
  if (right) while (end > start && set.has(whole[end - 1] as string)) end -= 1
  return whole.slice(start, end)
}

/** Names that rewritten templates call; no template uses such names. */
export const stripFunctions: Readonly<Record<string, (text: unknown, characters: unknown) => string>> = {
  __python_strip: (text, characters) => strip(text, characters, true, true),
  __python_lstrip: (text, characters) => strip(text, characters, true, false),
  __python_rstrip: (text, characters) => strip(text, characters, false, true),
}

interface SyntaxNode {
  type?: string
  value?: unknown
  callee?: SyntaxNode
  object?: SyntaxNode
  property?: SyntaxNode
  args?: unknown[]
}

function isNode(value: unknown): value is SyntaxNode {
  return typeof value === 'object' && value !== null
}

/**
 * Rewrites `text.strip(characters)` (and `lstrip`, `rstrip`) in a parsed template into calls of {@link stripFunctions}.
 * The template engine ignores the argument and would strip all white space, which changes what models were trained on.
 */
export function rewriteStripCalls(root: unknown): void {
  if (Array.isArray(root)) {
    for (const entry of root) rewriteStripCalls(entry)
    return
  }
  if (!isNode(root)) return
  for (const child of Object.values(root)) rewriteStripCalls(child)
  const { callee, args } = root
  if (root.type !== 'CallExpression' || callee?.type !== 'MemberExpression' || args?.length !== 1) return
  const name = `__python_${String(callee.property?.value)}`
  if (!Object.hasOwn(stripFunctions, name) || callee.object === undefined) return
  const { object } = callee
  // Nodes are class instances; the callee becomes an identifier by keeping the property node, which is one.
  const identifier = callee.property as SyntaxNode
  identifier.value = name
  root.callee = identifier
  root.args = [object, ...args]
}
