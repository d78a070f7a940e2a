import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { makeMiniDataset } from '@cairn/dataset';
import { findValkeyServer, startValkey, type TestValkey } from '@cairn/testing';
import { tinyCounts } from '../../demo/demo-dataset.ts';
import { judge, resumedFromNewest } from './judge.ts';
import { type Played, playRun } from './play-run.ts';
import { scenarios } from './scenarios.ts';
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
    'per-run': { type: 'string', default: '5' },
    /** Scenarios whose name has this in it; `none` for no scenario. */
    scenarios: { type: 'string', default: '' },
    all: { type: 'boolean', default: false },
    only: { type: 'string' },
  },
});
const seed = Number(values.seed);
const perRun = Number(values['per-run']);
const interrupted = new AbortController();
process.once('SIGINT', () => interrupted.abort(new Error('interrupted')));

const folder = await mkdtemp(join(tmpdir(), 'cairn-faults-'));
const dataset = join(folder, 'mini');
/** Where the logs of failed runs stay, by the run's name. */
const kept = `${folder}-logs`;
const say = (line: string): void => console.log(line);
let passed = 0;
let failed = 0;
const hit = new Set<string>();

type Plan = { strikes: readonly Strike[]; valkey: TestValkey | null; controllers?: number };

async function play(name: string, { strikes, valkey, controllers = 1 }: Plan): Promise<Played> {
  const home = join(folder, name);
  const played = await playRun({
    home,
    dataset,
    python: process.env.CAIRN_PYTHON ?? '',
    env: process.env,
    ...(valkey === null ? {} : { queueUrl: valkey.url }),
    controllers,
    strikes,
    set: smallSettings,
    tell: (line) => say(`    ${line}`),
    signal: interrupted.signal,
  }).catch(async (error: unknown) => {
    // What was logged is what there is to find the cause with.
    await cp(join(home, 'logs'), `${kept}-${name}`, { recursive: true });
    say(`    its logs are kept in ${kept}-${name}`);
    throw error;
  });
  await rm(home, { recursive: true, force: true });
  say(`    ended after ${played.seconds.toFixed(0)} s with mAP@100 ${(played.mapAt100 * 100).toFixed(2)} %`);
  return played;
}

/** Plays and judges; counts `weight` cases, all of which pass or fail with the run. */
async function playCase(name: string, plan: Plan, weight: number, verdict: (played: Played) => string[]): Promise<void> {
  const wrong = await play(name, plan).then(
    (played) => {
      for (const item of played.passed) hit.add(`${item.step}:${item.moment}`);
      return verdict(played);
    },
    (error: unknown) => [error instanceof Error ? error.message : String(error)],
  );
  for (const sentence of wrong) say(`    WRONG: ${sentence}`);
  if (wrong.length === 0) passed += weight;
  else failed += weight;
}

async function withBackend(backend: 'postgres' | 'redis', work: (valkey: TestValkey | null) => Promise<void>): Promise<void> {
  const program = async () => findValkeyServer({ python: process.env.CAIRN_PYTHON, cacheDir: '' });
  const valkey = backend === 'redis' ? await startValkey({ program: await program() }) : null;
  try {
    await work(valkey);
  } finally {
    await valkey?.stop();
  }
}

async function playFaults(backend: 'postgres' | 'redis', faults: readonly Fault[], reference: Played): Promise<void> {
  await withBackend(backend, async (valkey) => {
    for (const [index, pack] of packFaults(faults, perRun).entries()) {
      say(`${backend}: ${pack.map(nameOf).join(', ')}`);
      await playCase(`${backend}-${index}`, { strikes: pack.map(strikeOf), valkey }, pack.length, (played) => [
        ...judge(played, reference),
        ...resumedFromNewest(played.events),
      ]);
    }
  });
}

async function playScenarios(reference: Played): Promise<void> {
  const wanted = scenarios.filter(({ name }) => name.includes(values.scenarios));
  for (const [index, scenario] of wanted.entries()) {
    say(`${scenario.backend}: ${scenario.name}`);
    await withBackend(scenario.backend, (valkey) =>
      playCase(
        `scenario-${index}`,
        { strikes: scenario.strikes(valkey), valkey, ...(scenario.controllers === undefined ? {} : { controllers: scenario.controllers }) },
        1,
        (played) => [...judge(played, reference), ...scenario.judge(played, reference)],
      ),
    );
  }
}

try {
  await makeMiniDataset({ out: dataset, seed: 0, counts: tinyCounts });
  say(`without faults, seed ${seed}`);
  const reference = await play('reference', { strikes: [], valkey: null });
  const only = values.only === undefined ? null : new Set(values.only.split(';').map((name) => name.trim()));
  const pick = (count: number): Fault[] =>
    only ? allFaults.filter((fault) => only.has(nameOf(fault))) : values.all ? [...allFaults] : sampleFaults(seed, count);
  if (Number(values.postgres) > 0) await playFaults('postgres', pick(Number(values.postgres)), reference);
  if (Number(values.redis) > 0) await playFaults('redis', pick(Number(values.redis)), reference);
  if (only === null) await playScenarios(reference);
  const never = transitions.filter((item) => !hit.has(`${item.step}:${item.moment}`)).map((item) => `${item.step}:${item.moment}`);
  if (never.length > 0) say(`transitions never passed: ${never.join(', ')}`);
  if (values.all && never.length > 0) failed += never.length;
} finally {
  await rm(folder, { recursive: true, force: true });
}
say(`${passed} passed, ${failed} failed, 0 skipped`);
process.exit(failed === 0 ? 0 : 1);
