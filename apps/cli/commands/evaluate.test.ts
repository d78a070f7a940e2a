import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { createNpy } from '@cairn/retrieval';
import { trainerPython } from '@cairn/testing';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { runTestCli } from '../testing/test-cli.ts';

let folder: string;
const path = (name: string): string => join(folder, name);
const cairn = (...args: string[]) => runTestCli(args, { env: { CAIRN_PYTHON: trainerPython() } });
const evaluate = (queries: string, index: string, out: string, ...args: string[]) =>
  cairn('evaluate', '--queries', path(queries), '--index', path(index), '--metadata', path('metadata'), '--out', path(out), ...args);

/** The reference's features of three index images, and of two scored queries, an ignored one and an image that is not a query. */
const pickleFeatures = `
import pickle, sys, numpy as np
def write(kind, names, vectors):
    content = {f'{kind}_name_list': np.array(names), f'{kind}_feats': np.array(vectors, np.float16)}
    pickle.dump(content, open(f'{sys.argv[1]}/{kind}_feats_R50.pkl', 'wb'), pickle.HIGHEST_PROTOCOL)
write('index', ['iii1', 'iii2', 'iii3'], [[1, 0], [0.8, 0.6], [0, 1]])
write('probe', ['qqq3', 'qqq1', 'ttt1', 'qqq2'], [[0, 1], [1, 0], [0, 1], [0.8, 0.6]])
`;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cairn-evaluate-'));
  await mkdir(path('metadata'));
  const solution = ['id,images,Usage', 'qqq1,iii1,Public', 'qqq2,iii3,Private', 'qqq3,None,Ignored', 'qqq4,iii2,Private'];
  await writeFile(path('metadata/retrieval_solution_v2.1.csv'), `${solution.join('\n')}\n`);
  await promisify(execFile)(trainerPython(), ['-I', '-c', pickleFeatures, folder]);
  for (const kind of ['index', 'probe'])
    expect((await cairn('import', 'features', path(`${kind}_feats_R50.pkl`), '--out', path(kind))).err).toBe('');
});
afterAll(() => rm(folder, { recursive: true }));

test("the reference's features are searched and scored like a run's", async () => {
  const { code, out, err } = await evaluate('probe', 'index', 'scored');
  expect({ code, err }).toEqual({ code: 0, err: '' });
  // qqq1 finds its image first, qqq2 third, and qqq4 has no features.
  expect(out).toContain(
    "mAP@100 44.44 % (95 %: 0.00 to 100.00) by Kaggle's formula (public 100.00 %, private 16.67 %), 44.44 % by eval_cbir's",
  );
  expect(out).toContain('3 queries, 1 of them without features: they score 0; 3 images searched, gallery ');
  expect(out).toContain('2 vectors of ');
  expect((await readdir(path('scored'))).toSorted()).toEqual(['metrics.json', 'neighbours.parquet', 'per_query.parquet', 'submission.csv']);
  expect(await readFile(path('scored/submission.csv'), 'utf8')).toBe('id,images\nqqq1,iii1 iii2 iii3\nqqq2,iii2 iii1 iii3\nqqq4,\n');
});

test('with --json it prints metrics.json', async () => {
  const { out } = await evaluate('probe', 'index', 'as-json', '--top-k', '2', '--json');
  const metrics = JSON.parse(out);
  expect(metrics).toEqual(JSON.parse(await readFile(path('as-json/metrics.json'), 'utf8')));
  expect(metrics).toMatchObject({ topK: 2, mapAt100: { kaggle: { public: 1, private: 0 } } });
});

test('features of another model, and vectors that are not of length one, are refused', async () => {
  await writeFile(path('probe/manifest.json'), JSON.stringify({ details: { model: 'aaa' } }));
  await writeFile(path('index/manifest.json'), JSON.stringify({ details: { model: 'bbb' } }));
  const mixed = await evaluate('probe', 'index', 'none');
  expect(mixed).toMatchObject({
    code: 2,
    err: expect.stringMatching(/have different origins: .*probe with the model aaa, .*index with bbb/),
  });
  await rm(path('probe/manifest.json'));
  await rm(path('index/manifest.json'));

  await cp(path('index'), path('damaged'), { recursive: true });
  const npy = await createNpy(path('damaged/img_emb/img_emb_00000.npy'), 2);
  await npy.append(Float16Array.of(1, 0, Number.NaN, 0, 0, 1));
  await npy.finish();
  const damaged = await evaluate('probe', 'damaged', 'none');
  expect(damaged.err).toContain('The index images: the vector of iii2 has a value that is not a finite number');
});

test('features that cannot be scored are reported, and nothing is left behind', async () => {
  const before = await readdir(folder);
  expect(await evaluate('index', 'index', 'none')).toMatchObject({
    code: 2,
    err: expect.stringMatching(
      /none of the 3 vectors of .*index belongs to a scored query\nhint: Pass the features of the queries as --queries/,
    ),
  });
  expect(await evaluate('probe', 'nowhere', 'none')).toMatchObject({
    code: 2,
    err: expect.stringMatching(/^error: The feature set that is searched .*nowhere does not exist/),
  });
  expect((await evaluate('metadata', 'index', 'none')).err).toContain('has no folder img_emb');
  expect((await evaluate('probe', 'index', 'index')).err).toContain('index is not empty: choose another folder for the evaluation');
  expect(await readdir(folder)).toEqual(before);
});

const oracle = fileURLToPath(new URL('../testing/revisited_oracle.py', import.meta.url));

const askOracle = async (what: 'make' | 'score') => (await promisify(execFile)(trainerPython(), ['-I', oracle, what, folder])).stdout;

const evaluateRevisited = (out: string, ...args: string[]) =>
  cairn('evaluate', '--queries', path('probe'), '--index', path('index'), '--out', path(out), ...args);

const revisited = () => ['--revisited', path('gnd_made.pkl')];

describe('on revisited Oxford and Paris', () => {
  beforeAll(async () => {
    await rm(folder, { recursive: true });
    folder = await mkdtemp(join(tmpdir(), 'cairn-revisited-'));
    await askOracle('make');
    for (const kind of ['index', 'probe'])
      expect((await cairn('import', 'features', path(`${kind}.pkl`), '--out', path(kind))).err).toBe('');
  });

  test('mAP and mP@k in the setups easy, medium and hard are those of a plain program of the definition', async () => {
    const expected = JSON.parse(await askOracle('score'));
    const { code, out, err } = await evaluateRevisited('scored', ...revisited(), '--json');
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
    const { out } = await evaluateRevisited('table', ...revisited());
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
      const { code, err } = await evaluateRevisited('none', ...args);
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
});
