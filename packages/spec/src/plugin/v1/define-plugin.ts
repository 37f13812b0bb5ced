import type { Plugin } from './plugin.ts'

/** Types a plugin; returns it unchanged. */
export function definePlugin<P extends Plugin>(plugin: P): P {
  return plugin
}
