// Imported first by every entry point. Any Node must be able to parse this file, so that an old one prints a
// sentence instead of a syntax error.
const major = Number(process.versions.node.split('.')[0]);
if (major < 20) {
  console.error(
    `cairn: Node ${process.versions.node} is too old. Install Node 20 or newer (https://nodejs.org), then run the same command again.`,
  );
  process.exit(1);
}
