import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { defaultRerank } from '@cairn/contract';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runTestCli } from '../testing/test-cli.ts';

/** The reference's own answers: see its README. */
const given = fileURLToPath(new URL('../../../libs/retrieval/rerank/testing/reference-case', import.meta.url));
let folder: string;
const path = (name: string): string => join(folder, name);
const read = (name: string): Promise<string> => readFile(path(name), 'utf8');

/** The options of both models; `instead` replaces folders, null leaves one out. */
function sets(instead: Record<string, string | null> = {}): string[] {
  const kinds = { queries: 'query', index: 'index', references: 'references' };
  return ['M0', 'M1'].flatMap((model) =>
    Object.entries(kinds).flatMap(([option, kind]) => {
      const set = instead[`${model}.${option}`];
      return set === null ? [] : [`--${option}`, `${model}=${set ?? join(given, 'sets', model, kind)}`];
    }),
  );
}
const labels = ['--labels', join(given, 'labels.parquet')];
const search = (out: string, ...args: string[]) => runTestCli(['search', ...args, '--out', path(out), '--threads', '1']);

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cairn-search-'));
  // What before_merge finds at the ranks 1, 3 and 50 counts as correct, and every other query as Public.
  const submission = await readFile(join(given, 'before_merge.csv'), 'utf8');
  const rows = submission.trim().split('\n').slice(2);
  const solution = rows.map((row, query) => {
    const [id = '', images = ''] = row.split(',');
    const found = images.split(' ');
    return `${id},${[found[0], found[2], found[49]].join(' ')},${query % 2 === 0 ? 'Public' : 'Private'}`;
  });
  await writeFile(path('retrieval_solution_v2.1.csv'), `id,images,Usage\n${solution.join('\n')}\nqqqq,None,Ignored\n`);
});
afterAll(() => rm(folder, { recursive: true }));

test("the result is the reference's submission, scored and with a manifest; score and compare accept it", async () => {
  const raised = await search('raised', ...sets(), ...labels, '--rerank', 'before_merge', '--solution', folder);
  expect({ code: raised.code, err: raised.err }).toEqual({ code: 0, err: '' });
  expect(await read('raised/submission.csv')).toBe(await readFile(join(given, 'before_merge.csv'), 'utf8'));
  expect(raised.out).toContain('20 queries in 300 images, 2 models, rerank before_merge; gallery ');
  expect(raised.out).toContain('600 references, 0 without a country; 0 more of the list have no features');
  // (1 + 2/3 + 3/50) / 3
  expect(raised.out).toMatch(/mAP@100, Kaggle +57\.56 % +57\.56 % +57\.56 %/);
  expect(raised.out).toContain('Not scored: 1 query missing in the solution.');
  const files = ['manifest.json', 'metrics.json', 'neighbours.parquet', 'per_query.parquet', 'submission.csv'];
  expect((await readdir(path('raised'))).toSorted()).toEqual(files);
  expect(JSON.parse(await read('raised/manifest.json'))).toMatchObject({
    models: [{ name: 'M0', weight: 1, dim: 32 }, { name: 'M1' }],
    settings: { mode: 'before_merge', votes: 3, alpha: 1, beta: 0.1, k1: 10, k2: 3, voteNeighbours: 30, voteLambda: 0.5, lambda: 0.3 },
    references: { rows: 600 },
    files: [{ name: 'submission.csv' }, { name: 'neighbours.parquet' }, { name: 'metrics.json' }, { name: 'per_query.parquet' }],
  });

  // Submissions may have rows of queries that are not scored, but none of unknown queries.
  const submission = (await read('raised/submission.csv')).split('\n').toSpliced(1, 1, 'qqqq,');
  await writeFile(path('known.csv'), submission.join('\n'));
  const scored = await runTestCli(['score', '--submission', path('known.csv'), '--solution', folder, '--out', path('scored'), '--json']);
  expect({ code: scored.code, err: scored.err }).toEqual({ code: 0, err: '' });
  const metrics = JSON.parse(await read('raised/metrics.json'));
  expect(JSON.parse(scored.out)).toEqual(metrics);
  expect(metrics).toMatchObject({
    queries: { public: 10, private: 9, ignored: 1, withoutPredictions: 0 },
    cmc: { 1: 1 },
    byUsage: { public: { queries: 10, recall: { 1: expect.closeTo(1 / 3), 100: 1 } }, private: { queries: 9 } },
  });

  expect((await search('off', ...sets(), '--solution', folder)).code).toBe(0);
  const compared = await runTestCli(['compare', path('off'), path('scored')]);
  expect({ code: compared.code, err: compared.err }).toEqual({ code: 0, err: '' });
  expect(compared.out).toMatch(/all +19 +\d+\.\d\d % +57\.56 % +\+\d+\.\d\d +\+\d+\.\d\d to \+\d+\.\d\d/);
  const same = await runTestCli(['compare', path('scored/per_query.parquet'), path('raised'), '--json']);
  expect(JSON.parse(same.out)).toMatchObject({ all: { difference: 0, low: 0, high: 0 }, better: 0, worse: 0, equal: 19 });
});

test("one model needs no name, the defaults are the reference's, and references that are not needed are not read", async () => {
  const [queries, index] = [join(given, 'sets/M0/query'), join(given, 'sets/M0/index')];
  const { code, err } = await search('one', '--queries', queries, '--index', index, '--references', '/nowhere');
  expect({ code, err }).toEqual({ code: 0, err: '--rerank off does not use references: they are not read.\n' });
  const manifest = JSON.parse(await read('one/manifest.json'));
  expect(manifest).toMatchObject({ models: [{ name: 'model', references: null }], references: null });
  // What is matched is said by itself, with its matcher and counts.
  const { localMatching, ...settings } = defaultRerank;
  expect(manifest).toMatchObject({ settings, localMatching });
});

test('vectors are whitened and expanded by their neighbours, and no temporary file is left', async () => {
  const changes = ['--whiten-to', '16', '--augment-index', '3', '--expand-queries', '2'];
  const whiten = ['M0', 'M1'].flatMap((model) => ['--whiten', `${model}=${join(given, 'sets', model, 'references')}`]);
  const { code, err } = await search('changed', ...sets(), ...labels, '--rerank', 'before_merge', ...whiten, ...changes);
  expect({ code, err }).toEqual({ code: 0, err: '' });
  expect((await readdir(path('changed'))).toSorted()).toEqual(['manifest.json', 'neighbours.parquet', 'submission.csv']);
  const { settings, models } = JSON.parse(await read('changed/manifest.json'));
  expect(settings).toMatchObject({ whitenTo: 16, augmentIndex: 3, expandQueries: 2, expandQueriesAlpha: 3 });
  expect(models[0].whitening).toContain('sets/M0/references');
  expect(await read('changed/submission.csv')).not.toBe(await readFile(join(given, 'before_merge.csv'), 'utf8'));
});

test('inconsistent options are reported in one sentence, and nothing is left behind', async () => {
  const before = await readdir(folder);
  const expectRefusal = async (args: string[], message: RegExp) => {
    const { code, err } = await search('none', ...args);
    expect(err).toMatch(message);
    expect({ args, code }).toEqual({ args, code: 2 });
  };
  const merged = [...labels, '--rerank', 'before_merge'];
  await expectRefusal([...sets(), '--rerank', 'before_merge'], /^error: --rerank before_merge needs --references and --labels\n/);
  await expectRefusal([...sets({ 'M1.references': null }), ...merged], /--references lacks the model M1, which --queries has/);
  await expectRefusal([...sets({ 'M0.queries': null })], /--queries lacks the model M0, which --index has/);
  await expectRefusal([...sets(), '--index', 'M0=/x'], /--index is given twice for M0/);
  await expectRefusal([...sets(), '--weight', 'M2=1'], /--queries lacks the model M2, which --weight has/);
  await expectRefusal([...sets(), '--weight', 'M1=0'], /the weight of M1 is 0, not a number above 0/);
  await expectRefusal([...sets({ 'M0.index': '/nowhere' })], /The feature set of the index of M0 \/nowhere does not exist/);
  await expectRefusal(
    [...sets(), ...merged, '--vote-neighbours', '601'],
    /The references of M0 are 600, and the votes are looked for among the 601/,
  );
  await expectRefusal([...sets(), ...merged, '--votes', '31'], /31 votes cannot come from the 30 nearest references/);
  const whiten = ['--whiten', `M0=${join(given, 'sets/M0/query')}`];
  await expectRefusal([...sets(), ...whiten], /--whiten lacks the model M1, which --queries has/);
  await expectRefusal([...sets(), '--whiten-to', '8'], /--whiten-to needs --whiten/);
  await expectRefusal(
    [...sets(), ...whiten, '--whiten', `M1=${join(given, 'sets/M1/query')}`, '--whiten-to', '20'],
    /vary in 19 directions/,
  );
  await expectRefusal([...sets(), '--lambda', '1.5'], /It must be a number from 0 to 1/);
  await expectRefusal([...sets(), '--solution', given], /is not a solution, and does not contain retrieval_solution_v2\.1\.csv/);
  expect(await readdir(folder)).toEqual(before);
});

test('features of different models are not searched together', async () => {
  await cp(join(given, 'sets/M0'), path('described'), { recursive: true });
  await writeFile(path('described/query/manifest.json'), JSON.stringify({ details: { model: 'aaa', preprocessing: 'reference' } }));
  await writeFile(path('described/index/manifest.json'), JSON.stringify({ details: { model: 'bbb' } }));
  const { code, err } = await search('none', '--queries', path('described/query'), '--index', path('described/index'));
  expect({ code, err }).toMatchObject({
    code: 2,
    err: expect.stringMatching(/have different origins: .*query with the model aaa, .*index with bbb\./),
  });
});
