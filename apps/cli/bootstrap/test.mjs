// `npm test`: vitest, then pytest over the trainer, and next to them a sample of the fault test; then one line with all counts. Arguments
// go to vitest as filters, and those below docker/ to pytest; with filters only the runners that got one run. `--slow` runs only the
// tests of *.slow.test.ts and those that pytest marks as slow. CAIRN_TEST_UNTIL (seconds since 1970) ends it in time: tests that did
// not run are listed, and fail.
import { mkdtemp, open, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { hasCode } from './exclusive.mjs';
import { node24, root } from './layout.mjs';
import { runProgram } from './run-logged.mjs';
import { addCounts, countJunit, countsLine, countVitest, unfinishedFiles, withExitCode } from './test-counts.mjs';

const slowestShown = 10;
/** A test that is running when the time is up gets this long to end and to stop its servers. */
const graceMs = 90_000;
const args = process.argv.slice(2);
const slow = args.includes('--slow');
const filters = args.filter((arg) => arg !== '--slow');
const pythonFilters = filters.filter((filter) => filter.startsWith('docker/') && !filter.endsWith('.ts'));
const vitestFilters = filters.filter((filter) => !pythonFilters.includes(filter));
const until = Number(process.env.CAIRN_TEST_UNTIL || Number.POSITIVE_INFINITY);

process.chdir(root);
const folder = await mkdtemp(join(tmpdir(), 'cairn-test-'));
/** @type {import('./test-counts.mjs').Counts[]} */
const counts = [];
/** @type {string[]} */
const times = [];
let faultsOutput = '';
try {
  const all = filters.length === 0;
  const oneByOne = async () => {
    if (all || vitestFilters.length > 0) counts.push(await timed('vitest', runVitest));
    if (all || pythonFilters.length > 0) counts.push(await timed('pytest', runPytest));
  };
  // It waits more than it computes, for programs to come back: next to the others it takes hardly any time of its own.
  const faults = async () => {
    if (all && !slow) counts.push(await timed('faults, next to them', runFaults));
  };
  await Promise.all([oneByOne(), faults()]);
  if (faultsOutput !== '') console.log(`\n${faultsOutput.trimEnd()}`);
} finally {
  await rm(folder, { recursive: true, force: true });
}
const sum = addCounts(counts);
console.log(`\nTime: ${times.join(', ')}`);
console.log(`\n${countsLine(sum)}`);
process.exitCode = sum.failed === 0 ? 0 : 1;

/**
 * @param {string} name
 * @param {() => Promise<import('./test-counts.mjs').Counts>} runner
 */
async function timed(name, runner) {
  const startedAt = Date.now();
  const result = await runner();
  times.push(`${name} ${((Date.now() - startedAt) / 1000).toFixed(0)} s`);
  return result;
}

/** Ends a runner that exceeds the grace period after the time is up. */
function outOfTime() {
  return Number.isFinite(until) ? AbortSignal.timeout(Math.max(0, until * 1000 + graceMs - Date.now())) : undefined;
}

async function runVitest() {
  const [file, progress] = [join(folder, 'vitest.json'), join(folder, 'vitest.progress')];
  const vitest = join('node_modules', 'vitest', 'vitest.mjs');
  const reporters = ['default', 'json', './libs/testing/progress-reporter.ts'].map((name) => `--reporter=${name}`);
  const env = { ...process.env, CAIRN_TEST_PROGRESS: progress, ...(slow ? { CAIRN_TEST_SLOW: '1' } : {}) };
  const exitCode = await runProgram(node24, [vitest, 'run', ...reporters, `--outputFile.json=${file}`, ...vitestFilters], env, {
    signal: outOfTime(),
  });
  const unfinished = unfinishedFiles((await readReport(progress)) ?? '').map((path) => relative(root, path));
  if (unfinished.length > 0) console.log(`Not finished, each a failure:\n${unfinished.map((path) => `  ${path}`).join('\n')}`);
  const text = await readReport(file);
  if (text === null) return withExitCode({ passed: 0, failed: unfinished.length, skipped: 0 }, exitCode === 0 ? 1 : exitCode);
  const report = JSON.parse(text);
  const slowest = report.testResults
    .map((/** @type {{ name: string, startTime: number, endTime: number }} */ one) => ({
      path: relative(root, one.name),
      seconds: (one.endTime - one.startTime) / 1000,
    }))
    .sort((/** @type {{ seconds: number }} */ a, /** @type {{ seconds: number }} */ b) => b.seconds - a.seconds)
    .slice(0, slowestShown);
  console.log('Slowest files:');
  for (const one of slowest) console.log(`  ${one.seconds.toFixed(1).padStart(6)} s  ${one.path}`);
  const counted = countVitest(report);
  return withExitCode({ ...counted, failed: counted.failed + unfinished.length }, exitCode);
}

async function runPytest() {
  const file = join(folder, 'pytest.xml');
  const paths = pythonFilters.length > 0 ? pythonFilters : ['docker/trainer'];
  // A file's tests stay together, since they share what they trained.
  const options = [
    '-q',
    '-n',
    '2',
    '--dist',
    'loadfile',
    '-m',
    slow ? 'slow' : 'not slow',
    '--durations=5',
    '--durations-min=1',
    `--junitxml=${file}`,
  ];
  const python = process.env.CAIRN_PYTHON ?? 'python3';
  const exitCode = await runProgram(python, ['-I', '-m', 'pytest', ...options, ...paths], process.env, { signal: outOfTime() });
  const text = await readReport(file);
  return withExitCode(text === null ? { passed: 0, failed: 0, skipped: 0 } : countJunit(text), exitCode);
}

/** Five (program, transition) pairs in one run. Its output is shown at its end, since the others print in the meantime. */
async function runFaults() {
  const program = join('apps', 'cli', 'testing', 'faults', 'main.ts');
  const sample = ['--postgres', '0', '--redis', '5', '--scenarios', 'none', '--each-other'];
  const counts = join(folder, 'faults.json');
  const output = await open(join(folder, 'faults.txt'), 'w+');
  let exitCode;
  try {
    exitCode = await runProgram(node24, [program, ...sample, '--counts', counts], process.env, { output: output.fd });
  } finally {
    await output.close();
  }
  faultsOutput = (await readReport(join(folder, 'faults.txt'))) ?? '';
  const text = await readReport(counts);
  return withExitCode(text === null ? { passed: 0, failed: 0, skipped: 0 } : JSON.parse(text), exitCode);
}

/** @param {string} file @returns {Promise<string | null>} null when the runner died before it wrote its report */
async function readReport(file) {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return null;
    throw error;
  }
}
