import type * as Native from './native.d.ts'

export * from './native.d.ts'

/** The native binding: tensor table, devices, mapped files, tokenizers. */
export type NativeBinding = typeof Native

/**
 * The whole native binding. Importing this module loads it.
 * @throws an error with code `ERR_NATIVE_MISSING` naming every place that was tried.
 */
export declare function native(): NativeBinding
