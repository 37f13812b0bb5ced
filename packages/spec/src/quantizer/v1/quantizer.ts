import type { LinearLayer } from '../../model/v1/index.ts'
import type { OptionTable } from '../../options/v1/index.ts'
import type { DType, TensorHandle } from '../../tensor/v1/index.ts'

/** What a quantizer can do; claiming a capability turns its conformance tests on. */
export interface QuantizerCapabilities {
  /** Adapters can be trained over its weights. */
  readonly trainable: boolean
  /** It reads its checkpoint layout. */
  readonly imports: boolean
  /** It writes its checkpoint layout. */
  readonly exports: boolean
}

/** A weight quantizer: makes one storage format from another. */
export interface Quantizer<Options = Readonly<Record<string, unknown>>, Tensor extends TensorHandle = TensorHandle> {
  /** Unique id, e.g. `bnb`. */
  readonly id: string
  /** When it works: while loading, from calibration statistics, or during training. */
  readonly stage: 'load' | 'calibrate' | 'train'
  /** Weight formats it produces. */
  readonly formats: readonly DType[]
  /** Options with types, defaults and meaning. */
  readonly options: OptionTable
  /** What it can do. */
  readonly capabilities: QuantizerCapabilities
  /** Whether a layer is quantized (heads and routers usually are not). */
  accepts(layer: Pick<LinearLayer, 'path' | 'inFeatures' | 'outFeatures'>, options: Options): boolean
  /**
   * Quantizes a dense weight [N, K]; the caller releases it.
   * @throws coded errors for shapes or options outside its domain
   */
  doQuantize(weight: Tensor, options: Options): Tensor
  /** Dense float32 weight [N, K]. */
  doDequantize(weight: Tensor): Tensor
  /** Options in the `quantization_config` of a checkpoint's config.json, when that is this quantizer's. */
  doReadConfig?(quantizationConfig: Readonly<Record<string, unknown>>): Options | undefined
  /** The `quantization_config` to write. */
  doWriteConfig?(options: Options): Readonly<Record<string, unknown>>
  /**
   * Builds the weight of one layer from a checkpoint's tensors.
   * @param tensors - tensors whose keys start with the weight's name, by the rest of the key (`''` is the weight itself)
   */
  doImport?(tensors: ReadonlyMap<string, Tensor>, shape: readonly [number, number], options: Options): Promise<Tensor>
  /** Tensors to write for a weight, by the rest of the key after its name. */
  doExport?(weight: Tensor, options: Options): Promise<ReadonlyMap<string, Tensor>>
}
