import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { trainerPython } from '@cairn/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runTestCli } from '../testing/test-cli.ts';

let folder: string;
const path = (name: string): string => join(folder, name);
const cairn = (...args: string[]) => runTestCli(args, { env: { CAIRN_PYTHON: trainerPython() } });
const oracle = fileURLToPath(new URL('../testing/revisited_oracle.py', import.meta.url));
const askOracle = async (what: 'make' | 'score') => (await promisify(execFile)(trainerPython(), ['-I', oracle, what, folder])).stdout;
const evaluate = (out: string, ...args: string[]) =>
  cairn('evaluate', '--queries', path('probe'), '--index', path('index'), '--out', path(out), ...args);
const revisited = () => ['--revisited', path('gnd_made.pkl')];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cairn-revisited-'));
  await askOracle('make');
  for (const kind of ['index', 'probe']) expect((await cairn('import', 'features', path(`${kind}.pkl`), '--out', path(kind))).err).toBe('');
});
afterAll(() => rm(folder, { recursive: true }));

test('mAP and mP@k in the setups easy, medium and hard are those of a plain program of the definition', async () => {
  const expected = JSON.parse(await askOracle('score'));
  const { code, out, err } = await evaluate('scored', ...revisited(), '--json');
  expect({ code, err }).toEqual({ code: 0, err: '' });
  const metrics = JSON.parse(out);
  expect(JSON.parse(await readFile(path('scored/metrics.json'), 'utf8'))).toEqual(metrics);
  for (const setup of ['easy', 'medium', 'hard']) {
    const { queries, meanAveragePrecision, precision, interval } = metrics[setup];
    expect(queries).toBe(expected[setup].queries);
    expect(meanAveragePrecision).toBeCloseTo(expected[setup].meanAveragePrecision, 12);
    for (const k of ['1', '5', '10']) expect(precision[k]).toBeCloseTo(expected[setup].precision[k], 12);
    // Otherwise any ranking would pass.
    expect(meanAveragePrecision).toBeGreaterThan(0.05);
    expect(meanAveragePrecision).toBeLessThan(0.95);
    expect(interval.low).toBeLessThan(meanAveragePrecision);
    expect(interval.high).toBeGreaterThan(meanAveragePrecision);
  }
  expect(metrics).toMatchObject({
    ...{ easy: { queries: 6 }, medium: { queries: 6 }, hard: { queries: 5 } },
    gallery: { rows: 145, distractors: 25, queriesLeftOut: 1 },
    groundTruth: { path: path('gnd_made.pkl'), sha256: expect.stringMatching(/^[0-9a-f]{64}$/) },
  });
  expect(metrics.perQuery[2]).toMatchObject({ queryId: 'query_2', hard: null });
});

test('the result is a table with intervals', async () => {
  const { out } = await evaluate('table', ...revisited());
  expect(out).toMatch(
    / +mAP +95 % interval +mP@1 +mP@5 +mP@10 +queries\neasy +\d+\.\d\d % +\d+\.\d\d to \d+\.\d\d( +\d+\.\d\d %){3} +6\nmedium /,
  );
  expect(out).toContain(
    '6 queries, 145 images searched; 25 of them not in the ground truth: they count as wrong; 1 query in the index left out',
  );
});

test('bad input is one clear error, and nothing is left behind', async () => {
  await writeFile(path('hostile.pkl'), "cos\nsystem\n(S'touch harmed'\ntR.");
  const before = await readdir(folder);
  const refusal = async (message: string | RegExp, ...args: string[]) => {
    const { code, err } = await evaluate('none', ...args);
    expect(err).toMatch(message);
    expect({ args, code }).toEqual({ args, code: 2 });
  };
  await refusal(/^error: the ground truths are missing\nhint: Pass --metadata .*, or --revisited/);
  await refusal(/'--revisited <file>' cannot be used with option '--metadata <folder>'/, ...revisited(), '--metadata', folder);
  await refusal(/^error: .*hostile\.pkl /, '--revisited', path('hostile.pkl'));
  await refusal(/^error: File not found while reading .*nowhere\.pkl/, '--revisited', path('nowhere.pkl'));
  await refusal(
    /The feature set of the queries .*index lacks 5 of the 6 queries of the ground truth, such as query_1, query_2, query_3\nhint: Extract/,
    ...revisited(),
    ...['--queries', path('index')],
  );
  await refusal(/The feature set .*probe lacks 120 of the 120 images of the ground truth/, ...revisited(), '--index', path('probe'));
  expect(await readdir(folder)).toEqual(before);
});
