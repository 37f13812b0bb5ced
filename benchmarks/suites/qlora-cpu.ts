import type { Suite } from '../harness/suite.ts'
import { trainingSuite } from '../harness/training-comparison.ts'

const suite: Suite = trainingSuite(true)

export default suite
