import { join } from 'node:path';
import { scenarios } from '../faults/scenarios.ts';
import { touchesOf, victims } from '../faults/transitions.ts';
import { type Choice, type Choosable, changedPaths, choose, clusterFiles, commitCount, secondsOf } from './choose.ts';

/**
 * `select.ts cluster` prints the test files of the cluster tier that CI runs for this checkout, one per line; `select.ts faults` the arguments
 * of the fault test. The reasons go to stderr. CAIRN_CI_BASE names the commit before the change, CAIRN_CI_SEED draws the rest, and
 * CAIRN_CI_WHOLE=1 takes everything.
 */
const root = join(import.meta.dirname, '..', '..', '..', '..');
const { CAIRN_CI_BASE = '', CAIRN_CI_SEED = '', CAIRN_CI_WHOLE = '' } = process.env;
const isWhole = CAIRN_CI_WHOLE === '1';
const seed = CAIRN_CI_SEED === '' ? commitCount(root) : Number(CAIRN_CI_SEED);
if (!Number.isSafeInteger(seed) || seed < 0)
  throw new Error(`CAIRN_CI_SEED is ${CAIRN_CI_SEED}, but must be a whole number of at least 0.`);
const change = isWhole ? { base: null, paths: null } : changedPaths(root, CAIRN_CI_BASE);

/** Pairs of a program and a transition on each backend. */
const pairs = 5;

function report(line: string): void {
  process.stderr.write(`${line}\n`);
}

function reportChoice<T extends Choosable>(what: string, { touched, drawn, left }: Choice<T>): void {
  const listed = (items: readonly T[]): string =>
    `${items.length}${items.length === 0 ? '' : `, about ${secondsOf(items)} s: ${items.map(({ name }) => name).join('; ')}`}`;
  report(`${what} that the change touches: ${listed(touched)}`);
  report(`${what} drawn from the rest: ${listed(drawn)}`);
  report(`${what} left for other seeds: ${listed(left)}`);
}

function selectCluster(): string[] {
  const choice = choose(clusterFiles(root), change.paths, seed);
  reportChoice('files', choice);
  return [...choice.touched, ...choice.drawn].map(({ name }) => name);
}

function selectFaults(): string[] {
  if (isWhole) return ['--redis', '5', '--s3', '5'];
  const choice = choose(scenarios, change.paths, seed);
  const programs = victims.map((name) => ({ name, touchedBy: touchesOf[name], seconds: 1 }));
  const touched = choose(programs, change.paths, seed).touched.map(({ name }) => name);
  reportChoice('scenarios', choice);
  report(`programs that the change touches, each struck once more: ${touched.join(', ') || 'none'}`);
  const counts = ['--seed', String(seed), '--postgres', String(pairs), '--redis', String(pairs), '--s3', String(pairs)];
  const names = [...choice.touched, ...choice.drawn].map(({ name }) => name);
  return [...counts, ...(touched.length > 0 ? ['--strike', touched.join(',')] : []), '--scenarios', names.join('; ') || 'none'];
}

const from =
  change.base === null ? 'everything counts as changed' : `${change.paths?.length} files changed since ${change.base.slice(0, 7)}`;
report(isWhole ? 'CAIRN_CI_WHOLE=1: everything runs' : `${from}; the rest is drawn by CAIRN_CI_SEED=${seed}`);
const select = { cluster: selectCluster, faults: selectFaults }[process.argv[2] ?? ''];
if (select === undefined) throw new Error('usage: select.ts cluster|faults');
for (const line of select()) console.log(line);
