#!/usr/bin/env node
// The entry of every root script (`npm run demo` ...). Code that may need a newer Node is behind the dynamic import.
import './require-node.mjs';

const { runTarget } = await import('./run-target.mjs');
process.exitCode = await runTarget(process.argv[2] ?? '', process.argv.slice(3));
