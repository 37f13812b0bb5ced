import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { expectRefusal } from './expect-refusal.ts'
import { sftWords, writeSmallRun, type SmallRun } from './small-run.ts'

interface Entry {
  dtype: string
  shape: number[]
  data_offsets: [number, number]
}
type Header = Record<string, Entry>

const root = mkdtempSync(join(tmpdir(), 'swift-hostile-'))
let small: SmallRun
let original: Buffer
beforeAll(async () => {
  small = await writeSmallRun(root)
  original = readFileSync(join(small.model, 'model.safetensors'))
})
afterAll(() => rmSync(root, { recursive: true }))

const name = 'model.layers.0.mlp.up_proj.weight'
const other = 'model.layers.1.mlp.up_proj.weight'

function parts(): { text: string; data: Buffer } {
  const length = Number(original.readBigUInt64LE())
  return { text: original.subarray(8, 8 + length).toString(), data: original.subarray(8 + length) }
}

function file(header: string | Uint8Array, data: Uint8Array = parts().data): Buffer {
  const bytes = Buffer.from(header as string)
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(bytes.length))
  return Buffer.concat([length, bytes, data])
}

/** The file with entries of its header changed. */
function changed(change: (header: Header, entry: Entry) => void): Buffer {
  const header = JSON.parse(parts().text) as Header
  change(header, header[name] as Entry)
  return file(JSON.stringify(header))
}

function withLength(length: bigint): Buffer {
  const copy = Buffer.from(original)
  copy.writeBigUInt64LE(length)
  return copy
}

const cases: readonly (readonly [what: string, code: string, make: () => Buffer, found: RegExp])[] = [
  ['is cut off', 'TRUNCATED', () => original.subarray(0, -1000), /ends at byte \d+, the file has \d+/],
  ['is cut off in its header', 'TRUNCATED', () => original.subarray(0, 300), /header claims \d+ bytes/],
  ['is empty', 'TRUNCATED', () => Buffer.alloc(0), /empty/],
  ['has five bytes', 'TRUNCATED', () => original.subarray(0, 5), /it has 5 bytes/],
  ['claims a header longer than itself', 'TRUNCATED', () => withLength(1n << 40n), /claims 1099511627776 bytes/],
  [
    'claims the longest header there is',
    'TRUNCATED',
    () => withLength((1n << 64n) - 1n),
    /claims 18446744073709551615/,
  ],
  ['has a header that is no JSON', 'HEADER', () => file('{"a": '), /not JSON/],
  ['has a header that is a list', 'HEADER', () => file('[]'), /not an object/],
  ['has a header that is no UTF-8', 'HEADER', () => file(Uint8Array.of(0x7b, 0xff, 0x7d)), /not UTF-8/],
  ['nests its header deeply', 'HEADER', () => file(`{"a":${'['.repeat(200_000)}`), /not JSON/],
  [
    'lets two tensors overlap',
    'HEADER',
    () => changed((header, entry) => void (entry.data_offsets = [...(header[other] as Entry).data_offsets])),
    /overlap/,
  ],
  [
    'leaves bytes to no tensor',
    'HEADER',
    () => {
      const header = JSON.parse(parts().text) as Header
      return file(JSON.stringify(header), Buffer.concat([parts().data, Buffer.alloc(64)]))
    },
    /64 bytes at its end belong to no tensor/,
  ],
  [
    'puts a tensor behind its end',
    'TRUNCATED',
    () =>
      changed((_, entry) => void (entry.data_offsets = entry.data_offsets.map((at) => at + 1e9) as [number, number])),
    /up_proj.weight ends at byte/,
  ],
  [
    'has negative offsets',
    'HEADER',
    () => changed((_, entry) => void (entry.data_offsets[0] -= 1e9)),
    /no data_offsets/,
  ],
  [
    'turns offsets around',
    'HEADER',
    () => changed((_, entry) => void (entry.data_offsets = [entry.data_offsets[1], entry.data_offsets[0]])),
    /spans -\d+ bytes/,
  ],
  [
    'has offsets of a half',
    'HEADER',
    () => changed((_, entry) => void (entry.data_offsets[0] += 0.5)),
    /no data_offsets/,
  ],
  [
    'names a tensor twice',
    'HEADER',
    () => file(parts().text.replace(`"${other}"`, `"${name.replace('layers', 'l\\u0061yers')}" ${' '.repeat(60)}`)),
    /up_proj.weight occurs twice/,
  ],
  ['has an unknown dtype', 'DTYPE', () => changed((_, entry) => void (entry.dtype = 'F31')), /dtype "F31"/],
  ['has a dtype of a prototype', 'DTYPE', () => changed((_, entry) => void (entry.dtype = 'toString')), /"toString"/],
  [
    'has a dtype of another size',
    'HEADER',
    () => changed((_, entry) => void (entry.dtype = 'BF16')),
    /its shape needs/,
  ],
  [
    'has a shape of another size',
    'HEADER',
    () => changed((_, entry) => void (entry.shape = [127, 64])),
    /its shape needs/,
  ],
  [
    'has a shape beyond numbers',
    'HEADER',
    () => changed((_, entry) => void (entry.shape = [2 ** 40, 2 ** 40])),
    /larger/,
  ],
  ['has a shape of text', 'HEADER', () => changed((_, entry) => void (entry.shape = ['64'] as never)), /shape/],
  [
    'has an entry that is no object',
    'HEADER',
    () => changed((header) => void (header[name] = null as never)),
    /object/,
  ],
  [
    'lacks a tensor',
    'MISMATCH',
    () => {
      const header = JSON.parse(parts().text) as Header
      const [begin, end] = (header[name] as Entry).data_offsets
      delete header[name]
      for (const { data_offsets: at } of Object.values(header).filter((entry) => entry.data_offsets?.[0] > begin)) {
        at[0] -= end - begin
        at[1] -= end - begin
      }
      const { data } = parts()
      return file(JSON.stringify(header), Buffer.concat([data.subarray(0, begin), data.subarray(end)]))
    },
    /missing: model.layers.0.mlp.up_proj.weight/,
  ],
]

it.each(cases)('refuses a model whose weight file %s', async (what, code, make, found) => {
  const model = join(root, what.replaceAll(' ', '-'))
  cpSync(small.model, model, { recursive: true })
  const path = join(model, 'model.safetensors')
  writeFileSync(path, make())
  const whole = code === 'MISMATCH' ? 'ERR_WEIGHTS_MISMATCH' : `ERR_SAFETENSORS_${code}`
  const refusal = await expectRefusal(sftWords({ ...small, model }, join(root, 'run')), whole)
  expect(refusal.found).toMatch(found)
  expect(refusal.asked).toContain(code === 'MISMATCH' ? model : path)
  expect(existsSync(join(root, 'run'))).toBe(false)
})

it('refuses a header of more bytes than the format allows', async () => {
  const model = join(root, 'huge-header')
  cpSync(small.model, model, { recursive: true })
  const path = join(model, 'model.safetensors')
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(100_000_001n)
  writeFileSync(path, length)
  truncateSync(path, 100_000_100)
  const refusal = await expectRefusal(sftWords({ ...small, model }, join(root, 'run')), 'ERR_SAFETENSORS_HEADER')
  expect(refusal.found).toContain('more than the 100000000 allowed')
})

it('reads a long header with many names in time that grows with its length', async () => {
  const model = join(root, 'many-names')
  cpSync(small.model, model, { recursive: true })
  const extra = Array.from(
    { length: 100_000 },
    (_, index) => `"t${index}":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}`,
  )
  writeFileSync(
    join(model, 'model.safetensors'),
    file(
      parts()
        .text.trim()
        .replace(/}$/, `,${extra.join(',')}}`),
    ),
  )
  const refusal = await expectRefusal(sftWords({ ...small, model }, join(root, 'run')), 'ERR_WEIGHTS_MISMATCH')
  expect(refusal.found).toContain('unexpected: t0, t1, t2, t3 and 99996 more')
})

it('refuses an index of shards that leaves the folder, or names what is not there', async () => {
  const model = join(root, 'shards')
  cpSync(small.model, model, { recursive: true })
  const write = (map: unknown): void =>
    writeFileSync(join(model, 'model.safetensors.index.json'), JSON.stringify({ weight_map: map }))
  const run = (code: string): Promise<unknown> => expectRefusal(sftWords({ ...small, model }, join(root, 'run')), code)
  write({ [name]: '../model/model.safetensors' })
  await run('ERR_SAFETENSORS_INDEX')
  write({ [name]: 5 })
  await run('ERR_SAFETENSORS_INDEX')
  write(null)
  await run('ERR_SAFETENSORS_INDEX')
  write({ [name]: 'model-00001-of-00002.safetensors' })
  await run('ERR_SAFETENSORS_MISSING')
  write({ 'no.such.tensor': 'model.safetensors' })
  await run('ERR_SAFETENSORS_TENSOR')
})
