import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { makeMiniDataset } from '@cairn/dataset';
import { findValkeyServer, startValkey } from '@cairn/testing';
import { tinyCounts } from '../../demo/demo-dataset.ts';
import { judge } from './judge.ts';
import { type Played, playRun } from './play-run.ts';
import { smallSettings } from './small-run.ts';
import { allFaults, type Fault, nameOf, packFaults, sampleFaults, transitions } from './transitions.ts';

/**
 * The fault test: runs of the recipe `tiny` in which one program after another is killed at a transition of the run, each
 * judged against a run without faults. `--all` takes every pair; without it a seeded sample.
 */
const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    postgres: { type: 'string', default: '20' },
    redis: { type: 'string', default: '10' },
    'per-run': { type: 'string', default: '5' },
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

async function play(name: string, faults: readonly Fault[], queueUrl: string | undefined): Promise<Played> {
  const home = join(folder, name);
  const played = await playRun({
    home,
    dataset,
    python: process.env.CAIRN_PYTHON ?? '',
    env: process.env,
    ...(queueUrl === undefined ? {} : { queueUrl }),
    faults,
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
  return played;
}

async function playBackend(backend: 'postgres' | 'redis', faults: readonly Fault[], reference: Played): Promise<void> {
  const valkey =
    backend === 'redis' ? await startValkey({ program: await findValkeyServer({ python: process.env.CAIRN_PYTHON, cacheDir: '' }) }) : null;
  try {
    for (const [index, pack] of packFaults(faults, perRun).entries()) {
      say(`${backend}: ${pack.map(nameOf).join(', ')}`);
      const wrong = await play(`${backend}-${index}`, pack, valkey?.url).then(
        (played) => {
          for (const item of played.passed) hit.add(`${item.step}:${item.moment}`);
          say(`    ended after ${played.seconds.toFixed(0)} s with mAP@100 ${(played.mapAt100 * 100).toFixed(2)} %`);
          return judge(played, reference);
        },
        (error: unknown) => [error instanceof Error ? error.message : String(error)],
      );
      for (const sentence of wrong) say(`    WRONG: ${sentence}`);
      if (wrong.length === 0) passed += pack.length;
      else failed += pack.length;
    }
  } finally {
    await valkey?.stop();
  }
}

try {
  await makeMiniDataset({ out: dataset, seed: 0, counts: tinyCounts });
  const reference = await play('reference', [], undefined);
  say(`without faults: ${reference.seconds.toFixed(0)} s, mAP@100 ${(reference.mapAt100 * 100).toFixed(2)} %, seed ${seed}`);
  const only = values.only === undefined ? null : new Set(values.only.split(';').map((name) => name.trim()));
  const pick = (count: number): Fault[] =>
    only ? allFaults.filter((fault) => only.has(nameOf(fault))) : values.all ? [...allFaults] : sampleFaults(seed, count);
  if (Number(values.postgres) > 0) await playBackend('postgres', pick(Number(values.postgres)), reference);
  if (Number(values.redis) > 0) await playBackend('redis', pick(Number(values.redis)), reference);
  const never = transitions.filter((item) => !hit.has(`${item.step}:${item.moment}`)).map((item) => `${item.step}:${item.moment}`);
  if (never.length > 0) say(`transitions never passed: ${never.join(', ')}`);
  if (values.all && never.length > 0) failed += never.length;
} finally {
  await rm(folder, { recursive: true, force: true });
}
say(`${passed} passed, ${failed} failed, 0 skipped`);
process.exit(failed === 0 ? 0 : 1);
