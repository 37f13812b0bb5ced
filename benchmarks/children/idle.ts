// A process that has worked and now waits, as a served model does: answers every line with its CPU time so far.
import { createInterface } from 'node:readline'
import { SwiftModel } from '@swift/core'
import { Generator } from '@swift/models'

const [folder = ''] = process.argv.slice(2)
using model = await SwiftModel.fromPretrained(folder)
await Generator.generateAll(model.network, [[1, 2, 3]], { maxNewTokens: 8 })
console.log(JSON.stringify({ ready: true }))
for await (const _line of createInterface({ input: process.stdin })) {
  const { user, system } = process.cpuUsage()
  console.log(JSON.stringify({ cpuSeconds: (user + system) / 1e6 }))
}
