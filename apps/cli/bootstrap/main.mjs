#!/usr/bin/env node
// The entry of every root script (`npm run demo` ...). Whatever Node starts it must be able to parse this file, so that an old
// one gets a sentence and not a syntax error; everything else is behind the dynamic import.
const major = Number(process.versions.node.split('.')[0]);
if (major < 20) {
  console.error(
    `cairn: Node ${process.versions.node} is too old. Install Node 20 or newer (https://nodejs.org), then run the same command again.`,
  );
  process.exit(1);
}
const { runTarget } = await import('./run-target.mjs');
process.exitCode = await runTarget(process.argv[2] ?? '', process.argv.slice(3));
