export { adapterConformance, type AdapterConformanceOptions } from './conformance/adapter-conformance.ts'
export type { ConformanceRunner, ConformanceSkip } from './conformance/runner.ts'
export { quantizerConformance, type QuantizerConformanceOptions } from './conformance/quantizer-conformance.ts'
export { FakeCarbonServer, type FakeCarbonOptions } from './energy/fake-carbon-server.ts'
export { FakeClock } from './energy/fake-clock.ts'
export { FakePowercapTree, type FakeZoneOptions } from './energy/fake-powercap-tree.ts'
export type { FakeRedfishShape } from './energy/fake-redfish-resources.ts'
export { FakeRedfishServer, type FakeRedfishOptions } from './energy/fake-redfish-server.ts'
export { PowercapFeeder } from './energy/powercap-feeder.ts'
export { PowerTrace, type TracePoint } from './energy/power-trace.ts'
export { ScriptedCarbon } from './energy/scripted-carbon.ts'
export {
  checkGradients,
  type GradientCase,
  type GradientInput,
  type GradientReport,
} from './gradients/check-gradients.ts'
