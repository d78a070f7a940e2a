import { cp, mkdir, mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { defaultRerank } from '@cairn/contract';
import { createNpy, openParquet, readImageIds, readNpyHeader, readNpyRows } from '@cairn/retrieval';
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
  await mkdir(path('few'));
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
  expect(raised.out).toMatch(/95 % interval +57\.56 to 57\.56/);
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
  expect(compared.out).toMatch(/all +19 +\d+\.\d\d % +57\.56 % +\+\d+\.\d\d +\+\d+\.\d\d to \+\d+\.\d\d +0\.\d{4}/);
  expect(compared.out).toContain('One of them does not record its gallery');
  const same = await runTestCli(['compare', path('scored/per_query.parquet'), path('raised'), '--json']);
  expect(JSON.parse(same.out)).toMatchObject({
    b: { name: path('raised/per_query.parquet') },
    comparison: { all: { difference: 0, low: 0, high: 0, p: 1 }, better: 0, worse: 0, equal: 19 },
  });
});

test('a submission with unknown queries is refused with their names, and missing ones are named beside the score', async () => {
  await writeFile(path('few/retrieval_solution_v2.1.csv'), 'id,images,Usage\nq1,a b,Public\nq2,c,Private\n');
  const score = async (rows: string, ...options: string[]) => {
    await writeFile(path('few/s.csv'), `id,images\n${rows}`);
    return runTestCli(['score', '--submission', path('few/s.csv'), '--solution', path('few'), ...options]);
  };
  expect(await score('q1,a\nq8,a\nq9,a\n')).toMatchObject({
    code: 2,
    err: `error: 2 queries of ${path('few/s.csv')} are not in the solution: q8, q9\nhint: Pass the solution of the same queries (--solution), or remove the rows of other queries.\n`,
  });
  const { code, out } = await score('q1,a\n');
  expect({ code, out }).toMatchObject({ code: 0, out: expect.stringContaining('Missing in the submission: q2\n') });
  expect(await score('q1,a\n', '--require-all')).toMatchObject({
    code: 2,
    err: `error: ${path('few/s.csv')} has no row for 1 scored query: q2\nhint: Add a row for each query, or leave out --require-all: then such a query scores 0.\n`,
  });
  expect((await score('q1,a\nq2,\n', '--require-all')).code).toBe(0);
});

test('a list of references that is not there is named', async () => {
  const { code, err } = await search('none', ...sets(), '--labels', path('nothing.parquet'), '--rerank', 'before_merge');
  expect({ code, err }).toEqual({
    code: 2,
    err: `error: The list of the references ${path('nothing.parquet')} does not exist\nhint: Correct the path.\n`,
  });
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

test('a search writes an index of each model with the ids of their rows, and so does the export of a feature set', async () => {
  expect((await search('indexed', ...sets(), '--faiss', '--usearch')).code).toBe(0);
  const { indexFiles, files, gallery } = JSON.parse(await read('indexed/manifest.json'));
  const names = ['M0.faiss', 'M0.usearch', 'M1.faiss', 'M1.usearch'];
  expect(indexFiles).toMatchObject({ ids: 'ids.parquet', rows: 300, indexes: names.map((file) => ({ file, dim: 32 })) });
  expect(files.slice(2).map(({ name }: { name: string }) => name)).toEqual(['ids.parquet', ...names]);

  const exported = await runTestCli(['features', 'export', join(given, 'sets/M0/index'), '--faiss', '--npy', '--out', path('exported')]);
  expect({ code: exported.code, err: exported.err }).toEqual({ code: 0, err: '' });
  expect(exported.out).toContain('index.faiss: IndexFlatIP, 300 vectors of 32 values');
  const alone = JSON.parse(await read('exported/manifest.json'));
  expect(alone).toMatchObject({
    ...{ kind: 'index', gallery },
    indexFiles: { ids: 'ids.parquet', indexes: [{ file: 'index.faiss' }, { file: 'index.npy', kind: 'matrix of float16' }] },
  });
  // The same rows, in float16 behind the header of NumPy, and in float32 behind that of faiss.
  const matrix = await readNpyHeader(path('exported/index.npy'));
  const values = new Float32Array(300 * 32);
  await readNpyRows(path('exported/index.npy'), matrix, 0, values);
  expect(Buffer.from(values.buffer)).toEqual((await readFile(path('exported/index.faiss'))).subarray(45));
  expect(await readFile(path('exported/index.faiss'))).toEqual(await readFile(path('indexed/M0.faiss')));

  const nothing = await runTestCli(['features', 'export', join(given, 'sets/M0/index'), '--out', path('none')]);
  expect({ code: nothing.code, err: nothing.err }).toMatchObject({
    code: 2,
    err: expect.stringContaining('Add --faiss, --usearch, --npy or --lance'),
  });
  const changed = await search('none', ...sets(), '--augment-index', '2', '--usearch');
  expect({ code: changed.code, err: changed.err }).toMatchObject({ code: 2, err: expect.stringContaining('not whitened or augmented') });
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
  for (const weight of ['0', '-1', 'NaN', 'Infinity', '1001', ' '])
    await expectRefusal([...sets(), '--weight', `M1=${weight}`], /the weight of M1 is .*, not a number above 0 and at most 1000/);
  await expectRefusal([...sets(), '--weight', 'my model=1'], /--weight my model=1: a model's name has letters, digits and \. _ - only/);
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

/** A copy of the first model's sets with vectors or ids changed, and `origins` in their manifests; the options to search it by. */
async function damaged(name: string, { origins = {}, change = async () => undefined }: Damage): Promise<string[]> {
  await cp(join(given, 'sets/M0'), path(name), { recursive: true });
  for (const [kind, details] of Object.entries(origins))
    await writeFile(path(`${name}/${kind}/manifest.json`), JSON.stringify({ details }));
  await change(path(name));
  return ['queries', 'index', 'references'].flatMap((option) => [
    `--${option}`,
    path(`${name}/${option === 'queries' ? 'query' : option}`),
  ]);
}
type Damage = { origins?: Record<string, object>; change?: (folder: string) => Promise<unknown> };

const firstPart = (kind: 'img_emb' | 'metadata', set: string): string =>
  join(set, kind, `${kind}_00000.${kind === 'img_emb' ? 'npy' : 'parquet'}`);

/** Replaces the vectors of the first part. */
function vectors(set: string, to: (values: Float16Array, dim: number) => { values: Float16Array; dim: number }) {
  return async (folder: string): Promise<void> => {
    const file = firstPart('img_emb', join(folder, set));
    const header = await readNpyHeader(file);
    const values = new Float32Array(header.rows * header.dim);
    await readNpyRows(file, header, 0, values);
    const changed = to(Float16Array.from(values), header.dim);
    const npy = await createNpy(file, changed.dim);
    await npy.append(changed.values);
    await npy.finish();
  };
}

/** Replaces the ids of the first part. */
function ids(set: string, to: (ids: string[]) => string[]) {
  return async (folder: string): Promise<void> => {
    const parquet = await openParquet();
    const file = firstPart('metadata', join(folder, set));
    const rows = to(await readImageIds(parquet, file)).map((id) => [id]);
    await parquet.write({ path: file, columns: { image_id: 'text' }, rows }).finally(() => parquet.close());
  };
}

const filled = (set: string, value: number) => vectors(set, (values, dim) => ({ values: values.fill(value, 2 * dim, 3 * dim), dim }));

test.each<[string, Damage, RegExp, string[]?]>([
  [
    'vectors of another length',
    { change: vectors('index', (values, dim) => ({ values: new Float16Array([...values, ...values]), dim: 2 * dim })) },
    /The queries of model have vectors of 32 values, the index images of model of 64/,
  ],
  [
    'NaN in a query',
    { change: filled('query', Number.NaN) },
    /The queries of model: the vector of \S+ has a value that is not a finite number/,
  ],
  ['an index image of zeros', { change: filled('index', 0) }, /The index images of model: the vector of \S+ is zero/],
  [
    'references that are not of length one',
    { change: filled('references', 1) },
    /The references of model: the vector of \S+ has the length 5\.66, not 1/,
  ],
  [
    'a query id with a control character',
    { change: ids('query', ([, ...rest]) => ['a\u001b[31m', ...rest]) },
    /The feature set of the queries has the image id "a\\u001b\[31m", which a submission cannot have/,
  ],
  [
    'an index of no images',
    {
      change: async (folder) => {
        await vectors('index', (_, dim) => ({ values: new Float16Array(), dim }))(folder);
        await ids('index', () => [])(folder);
      },
    },
    /The feature set of the index has no images/,
  ],
  [
    'a damaged file',
    { change: (folder) => truncate(join(folder, 'index/img_emb/img_emb_00000.npy'), 1000) },
    /has 1000 bytes instead of the \d+ of 300 x 32 values\nhint: Download or write the file again/,
  ],
  [
    'fewer ids than vectors',
    { change: ids('query', (all) => all.slice(1)) },
    /img_emb_00000\.npy has 20 rows, metadata\/metadata_00000\.parquet 19/,
  ],
  [
    'an index id that a submission cannot hold',
    { change: ids('index', ([, ...rest]) => ['a,b', ...rest]) },
    /The feature set of the index has the image id "a,b", which a submission cannot have/,
  ],
  ['an id twice', { change: ids('index', ([first = '', , ...rest]) => [first, first, ...rest]) }, /has 1 ids more than once, such as/],
  [
    'a reference without a label',
    { change: ids('references', ([, ...rest]) => ['unknown', ...rest]) },
    /has no label for 1 references, such as unknown/,
  ],
  [
    'too few references',
    {
      change: async (folder) => {
        await vectors('references', (values, dim) => ({ values: values.subarray(0, 20 * dim), dim }))(folder);
        await ids('references', (all) => all.slice(0, 20))(folder);
      },
    },
    /The references of model are 20, and the votes are looked for among the 30 nearest/,
  ],
  [
    'queries of another model',
    { origins: { query: { model: 'aaa', preprocessing: 'reference' }, index: { model: 'bbb' } } },
    /have different origins: .*query with the model aaa, .*index with bbb\./,
  ],
  [
    'references with another preprocessing',
    { origins: { index: { model: 'aaa', preprocessing: 'reference' }, references: { model: 'bbb', preprocessing: 'cairn' } } },
    /index with the preprocessing reference, .*references with cairn\./,
  ],
  [
    'an index at one scale',
    { origins: { query: { model: 'aaa', scales: [0.5, 1, 2] }, index: { model: 'bbb' } } },
    /query with the scales 0\.5, 1, 2, .*index with 1\./,
  ],
])('a search with %s is refused in one sentence, and leaves nothing behind', async (what, damage, message) => {
  const name = what.replaceAll(' ', '-');
  const options = await damaged(name, damage);
  const before = await readdir(folder);
  const { code, err } = await search('none', ...options, ...labels, '--rerank', 'before_merge');
  expect(err).toMatch(message);
  expect(err.split('\n').filter((line) => line.startsWith('error: '))).toHaveLength(1);
  expect(code).toBe(2);
  expect(await readdir(folder)).toEqual(before);
});
