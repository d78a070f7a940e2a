import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { makeMiniDataset, tinyCounts } from '@cairn/dataset';
import { judge, resumedFromNewest } from './judge.ts';
import { type Played, playRun } from './play-run.ts';
import { scenarios } from './scenarios.ts';
import { type Backend, backends, type Servers, startServers, storageOf } from './servers.ts';
import { smallSettings } from './small-run.ts';
import { type Strike, strikeOf } from './strike.ts';
import { allFaults, type Fault, nameOf, packFaults, sampleFaults, transitions } from './transitions.ts';

/**
 * The fault test: runs of the recipe `tiny` in which one program after another is killed at a transition of the run, each
 * judged against a run without faults; then the scenarios. `--all` takes every pair; without it a seeded sample.
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
    /** Scenarios whose name has this in it; `none` for no scenario. */
    scenarios: { type: 'string', default: '' },
    all: { type: 'boolean', default: false },
    only: { type: 'string' },
    /** A file that gets the counts as JSON, in place of the last line. */
    counts: { type: 'string' },
  },
});
const seed = Number(values.seed);
const interrupted = new AbortController();
process.once('SIGINT', () => interrupted.abort(new Error('interrupted')));

/** One run to play; it counts as `weight` cases, all of which pass or fail with it. */
type Case = {
  title: string;
  backend: Backend;
  controllers: number;
  weight: number;
  strikes(servers: Servers): readonly Strike[];
  verdict(played: Played, reference: Played): string[];
};

const folder = await mkdtemp(join(tmpdir(), 'cairn-faults-'));
const dataset = join(folder, 'mini');
/** Where the logs of failed runs stay, by the run's name. */
const kept = `${folder}-logs`;
let passed = 0;
let failed = 0;
const hit = new Set<string>();

function faultCases(backend: Backend, count: number): Case[] {
  const only = values.only === undefined ? null : new Set(values.only.split(';').map((name) => name.trim()));
  // A checkpoint is told of once it is stored: over S3 that takes longer than the few steps that are left, and the ranks have ended.
  const possible = allFaults.filter(({ victim, moment }) => backend !== 'redis and s3' || victim !== 'rank' || moment !== 'checkpoint');
  const wanted = (): Fault[] => {
    if (only) return possible.filter((fault) => only.has(nameOf(fault)));
    // Another sample on each backend.
    return values.all ? possible : sampleFaults(seed + backends.indexOf(backend), count, possible);
  };
  return packFaults(count > 0 ? wanted() : [], Number(values['per-run'])).map((pack) => ({
    title: pack.map(nameOf).join(', '),
    backend,
    controllers: 1,
    weight: pack.length,
    strikes: () => pack.map(strikeOf),
    verdict: (played, reference) => [...judge(played, reference), ...resumedFromNewest(played.events)],
  }));
}

function scenarioCases(): Case[] {
  return scenarios
    .filter(({ name }) => values.only === undefined && name.includes(values.scenarios))
    .map(({ name, backend, controllers = 1, strikes, judge: judgeScenario }) => ({
      title: name,
      backend,
      controllers,
      weight: 1,
      strikes,
      verdict: (played, reference) => [...judge(played, reference), ...judgeScenario(played, reference)],
    }));
}

async function play(
  name: string,
  { backend, controllers, strikes }: Pick<Case, 'backend' | 'controllers' | 'strikes'>,
  tell: (line: string) => void,
) {
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
      tell,
      signal: interrupted.signal,
    });
    tell(`ended after ${played.seconds.toFixed(0)} s with mAP@100 ${(played.mapAt100 * 100).toFixed(2)} %`);
    for (const item of played.passed) hit.add(`${item.step}:${item.moment}`);
    return played;
  } catch (error) {
    // What was logged is what there is to find the cause with.
    await cp(join(home, 'logs'), `${kept}-${name}`, { recursive: true });
    tell(`its logs are kept in ${kept}-${name}`);
    throw error;
  } finally {
    await servers.stop();
    await rm(home, { recursive: true, force: true });
  }
}

/** Plays and judges; says it all at once when it is over, since others may run at the same time. */
async function playCase(name: string, one: Case, reference: Promise<Played>): Promise<void> {
  const lines: string[] = [];
  let wrong: string[];
  try {
    const played = await play(name, one, (line) => lines.push(line));
    wrong = one.verdict(played, await reference);
  } catch (error) {
    wrong = [error instanceof Error ? error.message : String(error)];
  }
  if (wrong.length === 0) passed += one.weight;
  else failed += one.weight;
  console.log([`${one.backend}: ${one.title}`, ...lines, ...wrong.map((sentence) => `WRONG: ${sentence}`)].join('\n    '));
}

async function playAll(cases: readonly Case[]): Promise<void> {
  const reference = play('reference', { backend: 'postgres', controllers: 1, strikes: () => [] }, (line) =>
    console.log(`seed ${seed}; the run without faults: ${line}`),
  );
  const left = [...cases.entries()];
  const places = Array.from({ length: Number(values.together) }, async (_, place) => {
    // The reference takes one of the places.
    if (place === 0) await reference;
    for (let next = left.shift(); next !== undefined; next = left.shift()) await playCase(`run-${next[0]}`, next[1], reference);
  });
  await Promise.all(places);
}

try {
  await makeMiniDataset({ out: dataset, seed: 0, counts: tinyCounts });
  const counts = { postgres: values.postgres, redis: values.redis, 'redis and s3': values.s3 } satisfies Record<Backend, string>;
  await playAll([...backends.flatMap((backend) => faultCases(backend, Number(counts[backend]))), ...scenarioCases()]);
  const never = transitions.filter((item) => !hit.has(`${item.step}:${item.moment}`)).map((item) => `${item.step}:${item.moment}`);
  if (never.length > 0) console.log(`transitions never passed: ${never.join(', ')}`);
  if (values.all && never.length > 0) failed += never.length;
} finally {
  await rm(folder, { recursive: true, force: true });
}
if (values.counts === undefined) console.log(`${passed} passed, ${failed} failed, 0 skipped`);
else await writeFile(values.counts, JSON.stringify({ passed, failed, skipped: 0 }));
process.exit(failed === 0 ? 0 : 1);
