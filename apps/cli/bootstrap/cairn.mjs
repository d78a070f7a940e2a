#!/usr/bin/env node
// The `cairn` command: prepares what the command needs (nothing, when it is there) and becomes apps/cli/main.ts under Node 24.
const major = Number(process.versions.node.split('.')[0]);
if (major < 20) {
  console.error(
    `cairn: Node ${process.versions.node} is too old. Install Node 20 or newer (https://nodejs.org), then run the same command again.`,
  );
  process.exit(1);
}
const { runTarget } = await import('./run-target.mjs');
process.exitCode = await runTarget('cairn', process.argv.slice(2));
