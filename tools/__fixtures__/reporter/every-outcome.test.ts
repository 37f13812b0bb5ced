// One test per outcome the summary reporter must tell apart; run only by tools/vitest-summary-reporter.test.ts.
import { describe, expect, it } from 'vitest'

it('passes', () => expect(1).toBe(1))
it('fails', () => expect(1).toBe(2))
it('skips with a reason', (context) => context.skip('no such device here'))
it.skip('skips silently', () => expect(1).toBe(1))
it.todo('is not written')
describe('group', () => it('passes too', () => expect(2).toBe(2)))
