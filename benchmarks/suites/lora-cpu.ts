import type { Suite } from '../harness/suite.ts'
import { trainingSuite } from '../harness/training-comparison.ts'

const suite: Suite = trainingSuite(false)

export default suite
