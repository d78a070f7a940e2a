// Imported first by what a person starts. Whatever Node that is must be able to parse this file, so that an old one gets a
// sentence and not a syntax error.
const major = Number(process.versions.node.split('.')[0]);
if (major < 20) {
  console.error(
    `cairn: Node ${process.versions.node} is too old. Install Node 20 or newer (https://nodejs.org), then run the same command again.`,
  );
  process.exit(1);
}
