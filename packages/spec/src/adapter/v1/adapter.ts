import type { LinearLayer, ParameterHandle } from '../../model/v1/index.ts'
import type { OptionTable } from '../../options/v1/index.ts'
import type { TensorHandle } from '../../tensor/v1/index.ts'

/** Low-rank branch that `linear` fuses into its product: y += scale · dropout(x)·aᵀ·bᵀ. */
export interface LowRankBranch<Tensor extends TensorHandle = TensorHandle> {
  /** A, [R, K]. */
  readonly a: Tensor
  /** B, [N, R]. */
  readonly b: Tensor
  /** Factor of the branch, α/r for LoRA. */
  readonly scale: number
  /** Dropout probability of the branch's input while training. Default 0. */
  readonly dropout?: number
}

/** What `doAttach` sees besides the layer. */
export interface AdapterContext<Tensor extends TensorHandle = TensorHandle> {
  /** Every number drawn at attachment derives from this and the layer's path. */
  readonly seed: number
  /** Index of the layer among the attached ones, for streams of random numbers. */
  readonly index: number
  /** Whether dropout and other training-only behaviour apply now. */
  isTraining(): boolean
  /** The linear product of the layer without adapters: x [T, K] → [T, N]; differentiable in x and in the branch. */
  base(x: Tensor, branch?: LowRankBranch<Tensor>): Tensor
}

/** An adapter on one layer. */
export interface AttachedAdapter<Tensor extends TensorHandle = TensorHandle> {
  /** Trainable parameters, named as on disk after the layer's path, e.g. `lora_A.weight`. */
  readonly parameters: readonly ParameterHandle[]
  /**
   * Output of the adapted layer: x [T, K] → [T, N]. x is float32, or bfloat16 where the device stores activations so; the
   * result may be either.
   */
  forward(x: Tensor): Tensor
  /** Frees the parameters. */
  dispose(): void
}

/** Tensors of an adapter file by key, and its configuration. */
export interface AdapterFile<Tensor extends TensorHandle = TensorHandle> {
  /** `adapter_config.json`. */
  readonly config: Readonly<Record<string, unknown>>
  /** `adapter_model.safetensors`, by full key such as `base_model.model.….q_proj.lora_A.weight`. */
  readonly tensors: ReadonlyMap<string, Tensor>
}

/** What an adapter can do; claiming a capability turns its conformance tests on. */
export interface AdapterCapabilities {
  /** `doMerge` folds it into the base weight. */
  readonly mergeable: boolean
  /** It trains over 4-bit base weights. */
  readonly quantizedBase: boolean
  /** Files are those of Hugging Face PEFT. */
  readonly peftFormat: boolean
}

/** A parameter-efficient fine-tuning method over linear layers. */
export interface Adapter<Options = Readonly<Record<string, unknown>>, Tensor extends TensorHandle = TensorHandle> {
  /** Unique id, e.g. `lora`. */
  readonly id: string
  /** Options with types, defaults and meaning. */
  readonly options: OptionTable
  /** What it can do. */
  readonly capabilities: AdapterCapabilities
  /**
   * Makes the adapter of one layer.
   * @throws coded errors for options outside their domain
   */
  doAttach(layer: LinearLayer, options: Options, context: AdapterContext<Tensor>): AttachedAdapter<Tensor>
  /**
   * Dense weight [N, K] (float32) with the adapter folded in; the caller stores it in the layer's format.
   * @param weight - dense float32 base weight
   */
  doMerge?(weight: Tensor, attached: AttachedAdapter<Tensor>, options: Options): Tensor
  /** The inverse of `doMerge`. */
  doUnmerge?(weight: Tensor, attached: AttachedAdapter<Tensor>, options: Options): Tensor
  /** The file of all attached layers, by path. */
  doSave(
    attached: ReadonlyMap<string, AttachedAdapter<Tensor>>,
    options: Options,
    context: { readonly baseModel: string; readonly taskType: string },
  ): AdapterFile<Tensor>
  /** Options that a file's configuration states; tells which layers to attach. @throws `ERR_ADAPTER_CONFIG` */
  doReadConfig(config: Readonly<Record<string, unknown>>): Options
  /** Copies tensors of a file into attached layers. @throws `ERR_ADAPTER_TENSORS` for missing, extra or misshapen ones */
  doLoad(file: AdapterFile<Tensor>, attached: ReadonlyMap<string, AttachedAdapter<Tensor>>, options: Options): void
  /** Learning-rate factor of a parameter, relative to the run's (LoRA+); 1 when absent. */
  learningRateFactor?(parameter: ParameterHandle, options: Options): number
}
