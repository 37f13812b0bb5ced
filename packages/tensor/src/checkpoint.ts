import { clearGradient, currentTape, gradientOf, Tape, withoutTape } from './tape.ts'
import type { RandomStream } from './random.ts'
import type { TapeNode } from './tape-node.ts'
import type { Tensor } from './tensor.ts'

/**
 * Runs `body` on `inputs`; under the `full` recompute policy only the inputs are kept, and backward runs `body` again
 * (Chen et al. 2016, arXiv 1604.06174). Under other policies it is a plain call.
 *
 * `body` must be deterministic; random draws repeat because the stream's counter is restored.
 */
export function checkpoint(
  body: (...inputs: Tensor[]) => Tensor[],
  inputs: readonly Tensor[],
  random?: RandomStream,
): Tensor[] {
  const tape = currentTape()
  if (tape === undefined || tape.recompute !== 'full') return body(...inputs)
  const start = random?.counter
  const saved = inputs.map((input) => input.alias().detachFromScope())
  const outputs = withoutTape(() => body(...inputs))
  const node: TapeNode = {
    name: 'checkpoint',
    inputs,
    outputs,
    recompute: undefined,
    recomputed: undefined,
    backward: (gradients) => replay(body, inputs, saved, gradients, random, start),
    release: () => {
      for (const tensor of saved) tensor.release()
    },
  }
  for (const output of outputs) {
    output.requiresGrad = true
    output.producer = node
  }
  tape.push(node)
  return outputs
}

function replay(
  body: (...inputs: Tensor[]) => Tensor[],
  inputs: readonly Tensor[],
  saved: readonly Tensor[],
  gradients: readonly (Tensor | undefined)[],
  random: RandomStream | undefined,
  start: number | undefined,
): (Tensor | undefined)[] {
  const resumeAt = random?.counter
  if (random !== undefined && start !== undefined) random.counter = start
  const leaves = saved.map((tensor, index) => {
    const leaf = tensor.alias()
    leaf.requiresGrad = inputs[index]?.requiresGrad === true
    return leaf
  })
  const tape = new Tape()
  const outputs = tape.record(() => body(...leaves))
  if (random !== undefined && resumeAt !== undefined) random.counter = resumeAt
  const wanted = outputs.flatMap((output, index) =>
    gradients[index] === undefined ? [] : [{ output, seed: gradients[index] }],
  )
  tape.backward(
    wanted.map(({ output }) => output),
    wanted.map(({ seed }) => seed),
  )
  return leaves.map((leaf) => takeGradient(leaf))
}

function takeGradient(leaf: Tensor): Tensor | undefined {
  const gradient = gradientOf(leaf)
  if (gradient === undefined) return undefined
  const own = gradient.alias()
  clearGradient(leaf)
  return own
}
