#!/usr/bin/env node
// The `cairn` command: prepares what the command needs (nothing, if it is there already) and becomes apps/cli/main.ts under Node 24.
import './require-node.mjs';

const { runTarget } = await import('./run-target.mjs');
process.exitCode = await runTarget('cairn', process.argv.slice(2));
