/** Which end of a phase a mark records. */
export type MarkEdge = 'begin' | 'end'

/**
 * A queue of work that can time-stamp a phase where the work really runs.
 *
 * Compute is asynchronous: when JavaScript leaves a phase the kernels of that phase may not have started. A device
 * therefore queues the mark like any other command; when the command is reached, the engine thread reads its own
 * clock and hands the mark to the meter. Nothing is synchronised.
 */
export interface MarkStream {
  /**
   * Queue a mark behind all work queued so far. Returns at once.
   * @param token the phase's token, an integer below 2^53, opaque to the device
   * @param edge which end of the phase this is
   */
  mark(token: number, edge: MarkEdge): void
}
