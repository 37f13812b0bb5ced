import { runCommand } from './run-command.ts'

/** Installs the workspace's JavaScript dependencies from the lockfile. Returns the exit status. */
export function installDependencies(): Promise<number> {
  return runCommand('pnpm', ['install', '--prefer-offline'])
}

/**
 * Builds the native module (`native/kernels/node/*.node`). nx restores it from its cache when no Rust source, manifest,
 * lockfile or compiler changed. Returns the exit status.
 */
export function buildNative(): Promise<number> {
  return runCommand('nx', ['run', '@swift/kernels:build', '--output-style=stream'])
}

/** Builds the stand-in for the libraries of GPUs that tests load in their place. Returns the exit status. */
export function buildFakeGpus(): Promise<number> {
  return runCommand('cargo', ['build', '-p', 'swift-fake-nvml', '-j', '2'], { folder: 'native/kernels' })
}
