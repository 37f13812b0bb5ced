/** Whether a `node --version` text lies in the workspace's engines range. */
export function isNodeSuitable(text: string | undefined): boolean
/** Whether a `pnpm --version` text is pnpm 12. */
export function isPnpmSuitable(text: string | undefined): boolean
