import { existsSync } from 'node:fs';
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { makeMiniDataset, tinyCounts } from '@cairn/mini-dataset';
import { type Case, casesOf } from './cases.ts';
import { type Played, playRun } from './play-run.ts';
import { startServers, storageOf } from './strike.ts';
import { transitions } from './transitions.ts';

/**
 * The fault test: runs of the recipe `tiny` in which one program after another is killed at a transition of the run, each
 * judged against a run without faults; then the scenarios. `--all` takes every pair; otherwise a seeded sample.
 */
const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    postgres: { type: 'string', default: '20' },
    redis: { type: 'string', default: '10' },
    /** With the queue on Redis and the objects on S3. */
    s3: { type: 'string', default: '0' },
    'per-run': { type: 'string', default: '5' },
    /** Runs at a time. */
    together: { type: 'string', default: '1' },
    /** Programs, separated by commas, that are struck once more each, on PostgreSQL. */
    strike: { type: 'string', default: '' },
    /** Scenarios whose name contains this, or one of several parts separated by semicolons; `none` for no scenario. */
    scenarios: { type: 'string', default: '' },
    /** Judges the runs against the first of them instead of a run without faults. */
    'each-other': { type: 'boolean', default: false },
    all: { type: 'boolean', default: false },
    only: { type: 'string' },
    /** A file for the counts as JSON, instead of the last line. */
    counts: { type: 'string' },
  },
});
const seed = Number(values.seed);
/** When everything must be over, in seconds since 1970. */
const until = Number(process.env.CAIRN_TEST_UNTIL || Number.POSITIVE_INFINITY);
const interrupted = new AbortController();
process.once('SIGINT', () => interrupted.abort(new Error('interrupted')));

/** A checkpoint after every step, to resume from any of them. */
const smallSettings: Readonly<Record<string, unknown>> = Object.fromEntries(
  ['384', '384_finetune', '512_finetune', '512_all'].map((stage) => [`stages.${stage}.checkpointEverySteps`, 1]),
);

const folder = await mkdtemp(join(tmpdir(), 'cairn-faults-'));
const dataset = join(folder, 'mini');
/** Where the logs of failed runs are kept, by the run's name. */
const kept = `${folder}-logs`;
let passed = 0;
let failed = 0;
let longestSeconds = 0;
const hit = new Set<string>();

type Print = (line: string) => void;

async function play(name: string, { backend, controllers, strikes }: Pick<Case, 'backend' | 'controllers' | 'strikes'>, print: Print) {
  const home = join(folder, name);
  const servers = await startServers(backend, process.env.CAIRN_PYTHON);
  const storage = storageOf(servers);
  try {
    const played = await playRun({
      home,
      dataset,
      python: process.env.CAIRN_PYTHON ?? '',
      env: { ...process.env, ...storage?.env },
      ...(servers.valkey === null ? {} : { queueUrl: servers.valkey.url }),
      ...(storage === null ? {} : { storageUrl: storage.url }),
      controllers,
      strikes: strikes(servers),
      set: smallSettings,
      print,
      signal: interrupted.signal,
    });
    print(`ended after ${played.seconds.toFixed(0)} s with mAP@100 ${(played.mapAt100 * 100).toFixed(2)} %`);
    longestSeconds = Math.max(longestSeconds, played.seconds);
    for (const item of played.passed) hit.add(`${item.step}:${item.moment}`);
    return played;
  } catch (error) {
    // The logs are the only way to find the cause. There are none if the service did not start.
    if (existsSync(join(home, 'logs'))) {
      await cp(join(home, 'logs'), `${kept}-${name}`, { recursive: true });
      print(`its logs are kept in ${kept}-${name}`);
    }
    throw error;
  } finally {
    await servers.stop();
    await rm(home, { recursive: true, force: true });
  }
}

/** Plays and judges; prints everything at once when it is over, since others may run at the same time. */
async function playCase(index: number, one: Case, reference: PromiseWithResolvers<Played>): Promise<void> {
  const lines: string[] = [];
  let wrong: string[];
  try {
    const played = await play(`run-${index}`, one, (line) => lines.push(line));
    if (values['each-other'] && index === 0) reference.resolve(played);
    wrong = one.verdict(played, await reference.promise);
  } catch (error) {
    if (values['each-other'] && index === 0) reference.reject(new Error('the run that the others are judged against did not end'));
    wrong = [error instanceof Error ? error.message : String(error)];
  }
  if (wrong.length === 0) passed += one.weight;
  else failed += one.weight;
  console.log([`${one.backend}: ${one.title}`, ...lines, ...wrong.map((sentence) => `WRONG: ${sentence}`)].join('\n    '));
}

async function playAll(cases: readonly Case[]): Promise<void> {
  const reference = Promise.withResolvers<Played>();
  // The runs that are judged against it learn of its failure.
  reference.promise.catch(() => undefined);
  const playReference = async (): Promise<void> => {
    const print = (line: string) => console.log(`seed ${seed}; the run without faults: ${line}`);
    await play('reference', { backend: 'postgres', controllers: 1, strikes: () => [] }, print).then(reference.resolve, reference.reject);
    await reference.promise;
  };
  const left = [...cases.entries()];
  const places = Array.from({ length: Number(values.together) }, async (_, place) => {
    // The reference takes one of the slots.
    if (place === 0 && !values['each-other']) await playReference();
    for (let next = left.shift(); next !== undefined; next = left.shift()) {
      if (Date.now() / 1000 + longestSeconds > until) printNotRun(next[1]);
      else await playCase(next[0], next[1], reference);
    }
  });
  await Promise.all(places);
}

function printNotRun({ backend, title, weight }: Case): void {
  failed += weight;
  console.log(`${backend}: ${title}\n    NOT RUN: no time was left for it`);
}

try {
  const cases = casesOf({
    seed,
    counts: { postgres: Number(values.postgres), redis: Number(values.redis), 'redis and s3': Number(values.s3) },
    perRun: Number(values['per-run']),
    all: values.all,
    only: values.only,
    strike: values.strike,
    scenarios: values.scenarios,
  });
  await makeMiniDataset({ out: dataset, seed: 0, counts: tinyCounts });
  await playAll(cases);
  const never = transitions.filter((item) => !hit.has(`${item.step}:${item.moment}`)).map((item) => `${item.step}:${item.moment}`);
  if (never.length > 0) console.log(`transitions that never happened: ${never.join(', ')}`);
  if (values.all && never.length > 0) failed += never.length;
} finally {
  await rm(folder, { recursive: true, force: true });
}
if (values.counts === undefined) console.log(`${passed} passed, ${failed} failed, 0 skipped`);
else await writeFile(values.counts, JSON.stringify({ passed, failed, skipped: 0 }));
process.exit(failed === 0 ? 0 : 1);
