import { describe, expect, it } from 'vitest'
import { SwiftError } from './swift-error.ts'

const details = {
  code: 'ERR_EXAMPLE',
  asked: 'Loading a.json',
  found: 'no such file',
  remedy: 'Check the path.',
} as const

describe('SwiftError', () => {
  it('says what was asked, found and what to do', () => {
    const error = new SwiftError({ ...details, details: { path: 'a.json' } })
    expect(error.message).toBe('Loading a.json: no such file. Check the path.')
    expect(error.code).toBe('ERR_EXAMPLE')
    expect(error.details).toEqual({ path: 'a.json' })
    expect(error.cause).toBeUndefined()
  })

  it('keeps the cause', () => {
    const cause = new Error('underneath')
    expect(new SwiftError({ ...details, cause }).cause).toBe(cause)
  })

  it('recognises its own and no other errors', () => {
    const error = new SwiftError(details)
    expect(SwiftError.isInstance(error)).toBe(true)
    expect(SwiftError.isInstance(error, 'ERR_EXAMPLE')).toBe(true)
    expect(SwiftError.isInstance(error, 'ERR_OTHER')).toBe(false)
    expect(SwiftError.isInstance(new Error('plain'))).toBe(false)
    expect(SwiftError.isInstance(undefined)).toBe(false)
  })
})
