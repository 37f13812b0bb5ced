#!/usr/bin/env node
import { keepCompiledCode } from './compile-cache.ts'

keepCompiledCode()
const { main } = await import('./main.ts')
process.exitCode = await main(process.argv.slice(2))
