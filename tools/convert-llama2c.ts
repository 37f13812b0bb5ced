// Writes a model of llama2.c (`.bin`, version 0) as a folder that SwiftModel.fromPretrained loads.
//   node --conditions=@swift/source tools/convert-llama2c.ts model.bin tokenizer.bin folder
import { convertLlama2c } from './llama2c/convert.ts'

const [model, tokenizer, output] = process.argv.slice(2)
if (model === undefined || tokenizer === undefined || output === undefined) {
  console.error('usage: node --conditions=@swift/source tools/convert-llama2c.ts MODEL.bin TOKENIZER.bin FOLDER')
  process.exitCode = 2
} else {
  try {
    const { layers, dim, vocabularySize } = await convertLlama2c({ model, tokenizer, output })
    console.log(`wrote ${output}: ${layers} layers of width ${dim}, ${vocabularySize} tokens`)
  } catch (error) {
    console.error(error instanceof Error ? error.message : String(error))
    process.exitCode = 2
  }
}
