import { callBuffer } from './call-buffer.ts'
import { decodeTensors } from './decode-tensors.ts'
import type { Device } from './device.ts'
import { guarded, runtime } from './runtime.ts'
import { scope } from './scope.ts'
import type { Tensor } from './tensor.ts'

function writeIds(tensors: readonly Tensor[]): number {
  const buffer = callBuffer(tensors.length)
  tensors.forEach((tensor, index) => {
    buffer[index] = tensor.live()
  })
  return tensors.length
}

/**
 * A sequence of ops recorded once and run again with other inputs in one call, which spares JavaScript the calls: a
 * decoding step of 257 ops takes about half a millisecond of its thread instead of two.
 *
 * It holds what the ops were called with: attributes and the handles of all other tensors, such as weights. Whoever keeps
 * a program makes a new one when those change; a handle released since makes a run throw.
 */
export class Program implements Disposable {
  readonly #device: Device
  #number: number

  private constructor(device: Device, number: number) {
    this.#device = device
    this.#number = number
  }

  /**
   * Runs `body` as it is and records its ops.
   * @param inputs - tensors that `body` uses and that later runs replace, by others of the same dtype and shape
   * @param body - synchronous; may run ops and make views, and neither upload nor map anything. Its outputs must be made
   * inside it; all else is released at its end.
   * @returns the program, and what `body` returned, without gradient history
   * @throws `ERR_PROGRAM_CALL` when `body` did something else than ops, `ERR_PROGRAM_NESTED` inside another recording
   */
  static record(
    device: Device,
    inputs: readonly Tensor[],
    body: () => readonly Tensor[],
  ): { readonly program: Program; readonly outputs: readonly Tensor[] } {
    guarded(() => runtime().beginProgram(device.index, writeIds(inputs)))
    try {
      const outputs = scope(body)
      const number = guarded(() => runtime().endProgram(writeIds(outputs)))
      return { program: new Program(device, number), outputs }
    } catch (error) {
      runtime().cancelProgram()
      throw error
    }
  }

  /**
   * Runs the ops with these inputs.
   * @returns the outputs, in the order of {@link Program.record}
   * @throws `ERR_SHAPE_MISMATCH` for inputs of another dtype or shape, `ERR_TENSOR_RELEASED` when a tensor is gone,
   * `ERR_OUT_OF_MEMORY`; nothing that the run made is left then
   */
  run(inputs: readonly Tensor[]): Tensor[] {
    const buffer = callBuffer(inputs.length)
    const count = guarded(() => runtime().runProgram(this.#number, writeIds(inputs)))
    return decodeTensors(this.#device, buffer, count)
  }

  /** Forgets the ops. */
  [Symbol.dispose](): void {
    if (this.#number !== 0) runtime().dropProgram(this.#number)
    this.#number = 0
  }
}
