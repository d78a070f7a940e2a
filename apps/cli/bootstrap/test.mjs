// `npm test`: vitest, then pytest over the trainer beside a sample of the fault test, then one line that counts all. Arguments
// go to vitest as filters, and those below docker/ to pytest; with filters only the runners that got one run. `--slow` runs the
// tests of *.slow.test.ts and those that pytest marks as slow, alone.
import { mkdtemp, open, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { hasCode } from './exclusive.mjs';
import { node24, root } from './layout.mjs';
import { runProgram } from './run-program.mjs';
import { addCounts, countJunit, countsLine, countVitest, withExitCode } from './test-counts.mjs';

const slowestShown = 5;
const args = process.argv.slice(2);
const slow = args.includes('--slow');
const filters = args.filter((arg) => arg !== '--slow');
const pythonFilters = filters.filter((filter) => filter.startsWith('docker/'));
const vitestFilters = filters.filter((filter) => !filter.startsWith('docker/'));

process.chdir(root);
const folder = await mkdtemp(join(tmpdir(), 'cairn-test-'));
/** @type {import('./test-counts.mjs').Counts[]} */
const counts = [];
let faultsSaid = '';
try {
  const all = filters.length === 0;
  if (all || vitestFilters.length > 0) counts.push(await runVitest());
  const beside = [];
  // Both wait more than they compute: one for torch to load, the other for programs to come back.
  if (all || pythonFilters.length > 0) beside.push(runPytest());
  if (all && !slow) beside.push(runFaults());
  counts.push(...(await Promise.all(beside)));
  if (faultsSaid !== '') console.log(`\n${faultsSaid.trimEnd()}`);
} finally {
  await rm(folder, { recursive: true, force: true });
}
const sum = addCounts(counts);
console.log(`\n${countsLine(sum)}`);
process.exitCode = sum.failed === 0 ? 0 : 1;

async function runVitest() {
  const file = join(folder, 'vitest.json');
  const vitest = join('node_modules', 'vitest', 'vitest.mjs');
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${file}`];
  const env = slow ? { ...process.env, CAIRN_TEST_SLOW: '1' } : process.env;
  const exitCode = await runProgram(node24, [vitest, 'run', ...reporters, ...vitestFilters], env);
  const text = await readReport(file);
  if (text === null) return withExitCode({ passed: 0, failed: 0, skipped: 0 }, exitCode === 0 ? 1 : exitCode);
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
  return withExitCode(countVitest(report), exitCode);
}

async function runPytest() {
  const file = join(folder, 'pytest.xml');
  const paths = pythonFilters.length > 0 ? pythonFilters : ['docker/trainer'];
  const options = ['-q', '-m', slow ? 'slow' : 'not slow', '--durations=5', '--durations-min=1', `--junitxml=${file}`];
  const exitCode = await runProgram(process.env.CAIRN_PYTHON ?? 'python3', ['-I', '-m', 'pytest', ...options, ...paths], process.env);
  const text = await readReport(file);
  return withExitCode(text === null ? { passed: 0, failed: 0, skipped: 0 } : countJunit(text), exitCode);
}

/** Ten (program, transition) pairs over both queue backends. What it says is shown at its end, since pytest prints meanwhile. */
async function runFaults() {
  const program = join('apps', 'cli', 'testing', 'faults', 'main.ts');
  const sample = ['--postgres', '5', '--redis', '5', '--scenarios', 'none', '--together', '3'];
  const counts = join(folder, 'faults.json');
  const output = await open(join(folder, 'faults.txt'), 'w+');
  let exitCode;
  try {
    exitCode = await runProgram(node24, [program, ...sample, '--counts', counts], process.env, output.fd);
  } finally {
    await output.close();
  }
  faultsSaid = (await readReport(join(folder, 'faults.txt'))) ?? '';
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
