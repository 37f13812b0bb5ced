import { readdir, stat } from 'node:fs/promises'
import { basename, resolve } from 'node:path'
import { optionTables } from '@swift/core'
import { SwiftError, type OptionTable } from '@swift/spec'
import type { Command } from '../arguments/command.ts'
import { printJson, printLine } from '../output/output.ts'
import { modelFromValues } from './model-from-values.ts'

const exportOptions: OptionTable = {
  outputDir: { type: 'string', required: true, description: 'Folder to write; it must not exist or be empty.' },
  exportDtype: {
    type: 'string',
    choices: ['float32', 'bfloat16', 'float16'],
    derived: 'that of the checkpoint',
    description: 'Dtype of a dense export.',
  },
  quantBits: {
    type: 'integer',
    minimum: 4,
    maximum: 4,
    description: 'Write 4-bit weights (bitsandbytes layout) instead of dense ones.',
  },
}

/** Refuses a folder that holds something: the export would take its place. */
async function refuseTaken(folder: string): Promise<void> {
  const found = await stat(folder).catch(() => undefined)
  if (found === undefined) return
  const names = found.isDirectory() ? await readdir(folder) : [basename(folder)]
  if (names.length === 0) return
  throw new SwiftError({
    code: 'ERR_OUTPUT_EXISTS',
    asked: `An export to ${folder}`,
    found: found.isDirectory()
      ? `it holds ${names.slice(0, 3).join(', ')}${names.length > 3 ? ', …' : ''}`
      : 'it is a file',
    remedy: 'Choose a folder that is new or empty; nothing was touched',
  })
}

/** `swift export`. */
export const exportCommand: Command = {
  name: 'export',
  summary: 'merge an adapter into its base model, or write 4-bit weights',
  usage: '--model FOLDER [--adapter FOLDER] --output-dir FOLDER [options]',
  examples: [
    'swift export --model models/qwen3 --adapter runs/first/checkpoint-100 --output-dir merged',
    'swift export --model merged --quant-bits 4 --output-dir merged-nf4',
  ],
  options: () => Promise.resolve({ export: exportOptions, model: optionTables.model }),
  run: async ({ values, output }) => {
    const folder = resolve(values['outputDir'] as string)
    await refuseTaken(folder)
    const fourBit = values['quantBits'] !== undefined
    if (fourBit && values['adapter'] !== undefined) {
      throw new SwiftError({
        code: 'ERR_OPTION_INVALID',
        asked: 'Merging an adapter and quantizing in one export',
        found: 'the merged weights would be rounded without being seen',
        remedy: 'Export the merged model first, check it, then export that with --quant-bits 4',
      })
    }
    const model = await modelFromValues(values, fourBit ? { loadIn4bit: true } : {})
    try {
      const dtype = values['exportDtype'] as 'float32' | 'bfloat16' | 'float16' | undefined
      if (fourBit) await model.save(folder)
      else await model.exportMerged(folder, dtype === undefined ? {} : { dtype })
    } finally {
      model.dispose()
    }
    if (output.json) printJson({ type: 'export', folder })
    else printLine(`wrote ${folder}`)
    return 0
  },
}
