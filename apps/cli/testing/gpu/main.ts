/**
 * `npm run gpu -- pack|check|report`: what Cairn does on a GPU, on a machine that is there for a quarter of an hour. docs/gpu.md
 * describes how.
 */
const [verb, ...args] = process.argv.slice(2);
switch (verb) {
  case 'pack': {
    const { pack } = await import('./pack.ts');
    await pack(args);
    break;
  }
  case 'check': {
    const { check } = await import('./check.ts');
    process.exitCode = await check(args);
    break;
  }
  case 'report': {
    const { report } = await import('./report.ts');
    await report(args);
    break;
  }
  default:
    console.error(
      'usage: npm run gpu -- pack --out DIR | check [--dry] [--phases ...] [--limit-s 480] [--out report.json] | report report.json',
    );
    process.exitCode = 2;
}
