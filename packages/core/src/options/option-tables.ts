import type { OptionDefinition, OptionTable } from '@swift/spec'
import type { GenerationOptions } from './generation-options.ts'
import type { ScheduleOptions } from './schedule-options.ts'
import type { TrainerOptions } from './trainer-options.ts'

/** Where the model comes from and how its weights are held. */
export const modelOptions: OptionTable = {
  model: {
    type: 'string',
    required: true,
    description: 'Folder of the model: config.json, safetensors, tokenizer.json.',
  },
  adapter: { type: 'string', description: 'Folder of a saved adapter (PEFT format) to continue with or to use.' },
  device: {
    type: 'string',
    default: 'cpu',
    choices: ['cpu', 'oracle'],
    description: 'Device that computes; oracle is the slow f64 reference.',
  },
  dtype: {
    type: 'string',
    default: 'auto',
    choices: ['auto', 'float32', 'bfloat16', 'float16'],
    description: 'Storage of frozen weights; auto keeps what the files hold. Trained weights are always float32.',
  },
  computeDtype: {
    type: 'string',
    choices: ['float32', 'bfloat16'],
    derived: 'bfloat16 where the CPU multiplies it natively or bfloat16 weights generate, else float32',
    description: 'Precision of the inputs of matrix products; sums are float32.',
  },
  loadIn4bit: {
    type: 'boolean',
    derived: 'true for the tuner qlora, else false',
    description: 'Quantize the frozen linear weights to 4 bits while loading (needs @swift/plugin-bnb).',
  },
  bnb4bitQuantType: {
    type: 'string',
    default: 'nf4',
    choices: ['nf4', 'fp4'],
    description: 'Code book of 4-bit weights.',
  },
  bnb4bitUseDoubleQuant: {
    type: 'boolean',
    default: true,
    description: 'Quantize the block scales of 4-bit weights too.',
  },
  plugins: {
    type: 'string[]',
    default: [],
    description: 'Further plugins to load: package names or paths of modules.',
  },
}

/** What is trained. */
export const tunerOptions: OptionTable = {
  tunerType: {
    type: 'string',
    default: 'lora',
    description: 'lora, qlora (lora over 4-bit weights), full, or the adapter of a plugin.',
  },
  loraRank: { type: 'integer', default: 8, minimum: 1, description: 'Rank R of the adapter.' },
  loraAlpha: {
    type: 'number',
    default: 32,
    minimum: 0,
    description: 'Scale α of the adapter; its branch counts α / R (α / √R with useRslora).',
  },
  loraDropout: {
    type: 'number',
    default: 0.05,
    minimum: 0,
    maximum: 0.99,
    description: 'Dropout on the input of the adapter while training.',
  },
  targetModules: {
    type: 'string[]',
    default: ['all-linear'],
    description: 'Names of the linear layers that get an adapter; all-linear is all but the head.',
  },
  useRslora: { type: 'boolean', default: false, description: 'Scale by α / √R (arXiv 2312.03732).' },
  loraPlusRatio: {
    type: 'number',
    default: 1,
    minimum: 0,
    description: 'Learning rate of B relative to A (LoRA+, arXiv 2402.12354).',
  },
}

/** What is learned from. */
export const dataOptions: OptionTable = {
  dataset: { type: 'string[]', description: 'Files, folders or globs of rows, each with an optional #count.' },
  valDataset: { type: 'string[]', description: 'The same for evaluation.' },
  splitDatasetRatio: {
    type: 'number',
    default: 0,
    minimum: 0,
    maximum: 0.9,
    description: 'Fraction of the dataset kept for evaluation when there is no valDataset.',
  },
  maxLength: {
    type: 'integer',
    minimum: 2,
    derived: 'the smaller of 2048 and the longest the model takes',
    description: 'Longest sequence in tokens, and the capacity of a packed row.',
  },
  truncationStrategy: {
    type: 'string',
    choices: ['delete', 'left', 'right', 'split'],
    derived: 'delete for sft, split for pt',
    description: 'What happens to rows longer than maxLength; deleted rows are counted and written to a file.',
  },
  lossScale: {
    type: 'string',
    choices: ['default', 'last_round', 'all'],
    derived: 'default (assistant turns) for sft, all for pt',
    description: 'Which tokens are learned: default is every assistant turn, last_round the last one.',
  },
  packing: {
    type: 'boolean',
    default: true,
    description: 'Lay several sequences into one row of maxLength; attention never crosses them.',
  },
  columns: {
    type: 'object',
    default: {},
    description: 'Column of the file → standard column, e.g. {"question": "query"}.',
  },
  chatTemplateKwargs: {
    type: 'object',
    default: {},
    description: 'Variables of the chat template, e.g. {"enable_thinking": false}.',
  },
  maxRejectedFraction: {
    type: 'number',
    default: 0.01,
    minimum: 0,
    maximum: 1,
    description: 'Largest fraction of unusable rows before the run stops.',
  },
}

/** How it is trained: the options of {@link TrainerArguments}, but for when and with how much power: `scheduleOptions`. */
export const trainingOptions: Readonly<Record<Exclude<keyof TrainerOptions, keyof ScheduleOptions>, OptionDefinition>> =
  {
    outputDir: {
      type: 'string',
      derived: 'output/<model>-<date>-<time>',
      description: 'Folder of the run: checkpoints, logs, energy ledger.',
    },
    numTrainEpochs: {
      type: 'number',
      minimum: 0,
      derived: '1, or as many as maxSteps needs',
      description: 'Passes over the dataset.',
    },
    maxSteps: { type: 'integer', minimum: 1, description: 'Stop after this many optimizer steps.' },
    perDeviceTrainBatchSize: {
      type: 'integer',
      default: 1,
      minimum: 1,
      description: 'Packed rows (sequences without packing) per micro-batch.',
    },
    gradientAccumulationSteps: {
      type: 'integer',
      minimum: 1,
      derived: 'from tokensPerStep, else micro-batches of about 16 sequences',
      description: 'Micro-batches per optimizer step.',
    },
    tokensPerStep: {
      type: 'integer',
      minimum: 1,
      description: 'Tokens an optimizer step should cover; sets gradientAccumulationSteps.',
    },
    learningRate: {
      type: 'number',
      minimum: 0,
      derived: '1e-4 with an adapter, 1e-5 for full',
      description: 'Peak learning rate.',
    },
    lrSchedulerType: {
      type: 'string',
      default: 'cosine',
      choices: ['constant', 'linear', 'cosine', 'cosine_with_min_lr'],
      description: 'Course of the learning rate after warmup; cosine_with_min_lr ends at a tenth of the peak.',
    },
    warmupRatio: {
      type: 'number',
      default: 0,
      minimum: 0,
      maximum: 1,
      description: 'Fraction of the steps in which the learning rate rises from 0.',
    },
    weightDecay: {
      type: 'number',
      default: 0.1,
      minimum: 0,
      description: 'Decoupled weight decay of matrices; norms and biases have none.',
    },
    adamBeta1: {
      type: 'number',
      default: 0.9,
      minimum: 0,
      maximum: 0.9999999,
      description: 'Decay of the first moment.',
    },
    adamBeta2: {
      type: 'number',
      default: 0.95,
      minimum: 0,
      maximum: 0.9999999,
      description: 'Decay of the second moment.',
    },
    maxGradNorm: {
      type: 'number',
      default: 1,
      minimum: 0,
      description: 'Largest L2 norm of all gradients; 0 turns clipping off.',
    },
    optim: { type: 'string', default: 'adamw', description: 'adamw, adamw_8bit, sgd, or the optimizer of a plugin.' },
    recompute: {
      type: 'string',
      default: 'auto',
      choices: ['auto', 'none', 'selective', 'full'],
      description:
        'What backward computes again to save memory; auto is the least that fits, and selective where it costs next to nothing.',
    },
    seed: {
      type: 'integer',
      default: 42,
      minimum: 0,
      description: 'Decides initial values, order of the data and dropout.',
    },
    loggingSteps: { type: 'integer', default: 5, minimum: 1, description: 'Steps between log lines.' },
    evalSteps: {
      type: 'integer',
      minimum: 1,
      derived: 'the end of every epoch, at most ten times a run',
      description: 'Steps between evaluations, where there is an evaluation set.',
    },
    saveSteps: { type: 'integer', minimum: 1, derived: 'evalSteps', description: 'Steps between checkpoints.' },
    saveTotalLimit: {
      type: 'integer',
      default: 2,
      minimum: 1,
      description: 'Checkpoints to keep: the last ones and always the best.',
    },
    earlyStopPatience: {
      type: 'integer',
      minimum: 1,
      description: 'Stop after this many evaluations without a lower loss.',
    },
    resumeFromCheckpoint: {
      type: 'string',
      description: 'A checkpoint folder, or auto for the last one in outputDir.',
    },
    skipNonFiniteSteps: {
      type: 'integer',
      default: 0,
      minimum: 0,
      description:
        'Updates with a NaN or infinite loss or gradient to skip before the run stops; above 0 each step waits for its norm.',
    },
    energyBudget: {
      type: 'string',
      description:
        'Limits of the run, e.g. 0.5kWh, 2MJ, 300gCO2e, 2EUR@0.30, 0.02J/token; a spent one ends it with a checkpoint, "soft 0.4kWh" warns.',
    },
    memoryLimit: {
      type: 'integer',
      minimum: 1,
      derived: 'the memory available now',
      description: 'Bytes the run may use; a plan above it is refused.',
    },
    useFlashAttention: {
      type: 'boolean',
      default: true,
      description: 'Attention in O(S) memory. It is the only kernel there is; false is refused.',
    },
    sequenceParallelSize: {
      type: 'integer',
      default: 1,
      minimum: 1,
      description: 'Processes that share a sequence; above 1 needs a plugin.',
    },
    parallel: {
      type: 'object',
      default: {},
      description:
        'Sizes of parallel groups: tensorModelParallelSize, pipelineModelParallelSize, …; above 1 needs a plugin.',
    },
  }

/** How text is generated. */
export const generationOptions: Readonly<Record<keyof GenerationOptions, OptionDefinition>> = {
  maxNewTokens: { type: 'integer', default: 512, minimum: 1, description: 'Most tokens to generate.' },
  temperature: {
    type: 'number',
    derived: 'generation_config.json, else 0',
    minimum: 0,
    description: 'Temperature of sampling; 0 takes the likeliest token.',
  },
  topK: {
    type: 'integer',
    derived: 'generation_config.json, else 0',
    minimum: 0,
    description: 'Sample among the k likeliest tokens; 0 is all.',
  },
  topP: {
    type: 'number',
    derived: 'generation_config.json, else 1',
    minimum: 0,
    maximum: 1,
    description: 'Sample among the likeliest tokens with this total probability.',
  },
  repetitionPenalty: {
    type: 'number',
    derived: 'generation_config.json, else 1',
    minimum: 0.01,
    description: 'Divides the scores of tokens already written.',
  },
}

/** The option tables by concern: the model, what is trained, the data, the training, generating text. */
export type OptionTables = Readonly<Record<'model' | 'tuner' | 'data' | 'training' | 'generation', OptionTable>>

/**
 * Every option of models, data, training and text, by concern; when and with how much power is `scheduleOptions`, which
 * `swift energy run` shares. TypeScript, YAML/JSON files and the command line read the same tables; a
 * name means the same everywhere and occurs once.
 */
export const optionTables: OptionTables = {
  model: modelOptions,
  tuner: tunerOptions,
  data: dataOptions,
  training: trainingOptions,
  generation: generationOptions,
}
