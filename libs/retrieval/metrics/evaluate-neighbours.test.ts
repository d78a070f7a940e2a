import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, expect, test } from 'vitest';
import { temporaryFolder, testParquet } from '../fixtures/test-files.ts';
import type { Parquet } from '../parquet/open-parquet.ts';
import { readScores } from '../scores/scores-file.ts';
import { galleryOf, writeNeighbours } from '../search/neighbours-file.ts';
import { evaluateNeighbours } from './evaluate-neighbours.ts';

let parquet: Parquet;
let folder: string;
beforeEach(async () => {
  parquet = await testParquet();
  folder = await temporaryFolder();
});

/** Four queries: one Public found at 1, one Private found at 2 of two ground truths, one ignored, one that could not be read. */
async function inputs(truths?: string[][]): Promise<Parameters<typeof evaluateNeighbours>[0]> {
  const [neighbours, groundTruth, queryList] = ['neighbours', 'ground_truth', 'query'].map((name) => join(folder, `${name}.parquet`)) as [
    string,
    string,
    string,
  ];
  const ranked = (...imageIds: string[]) => ({ imageIds, scores: imageIds.map((_, index) => 1 - index / 10) });
  await writeNeighbours(parquet, neighbours, {
    gallery: galleryOf(['a', 'b', 'c']),
    topK: 3,
    neighbours: new Map([
      ['pub', ranked('a', 'b', 'c')],
      ['priv', ranked('a', 'b', 'c')],
      ['ign', ranked('c', 'b', 'a')],
    ]),
  });
  await parquet.write({
    path: groundTruth,
    columns: { query_id: 'text', image_id: 'text', usage: 'text' },
    rows: truths ?? [
      ['pub', 'a', 'Public'],
      ['priv', 'b', 'Private'],
      ['priv', 'z', 'Private'],
      ['broken', 'a', 'Private'],
    ],
  });
  await parquet.write({ path: queryList, columns: { image_id: 'text' }, rows: [['pub'], ['broken'], ['ign'], ['priv']] });
  return { parquet, neighbours, groundTruth, queryList, atK: 100, out: join(folder, 'evaluation') };
}

const unfound = { usage: 'Private', continent: null, averagePrecision: 0, averagePrecisionReference: 0, hits: 0, firstHit: null };
const hitsAt = (first: number, others: number, all: number) => ({ 1: first, 5: others, 10: others, 20: others, 100: others, all });

test('a search is scored by both definitions, and written as metrics.json, per_query.parquet and submission.csv', async () => {
  const options = await inputs();
  const metrics = await evaluateNeighbours(options);
  expect(metrics).toEqual({
    mapAt100: {
      kaggle: { public: 1, private: 1 / 8, all: 1.25 / 3 },
      reference: 1.25 / 3,
      // Of one query only itself is drawn; of two, both are the same one in half of the draws.
      intervals: {
        kaggle: { public: { low: 1, high: 1 }, private: { low: 0, high: 0.25 }, all: { low: 0, high: 1 } },
        reference: { low: 0, high: 1 },
      },
    },
    bootstrap: { method: 'percentile bootstrap over queries', level: 0.95, samples: 10_000, seed: 0 },
    cmc: { 1: 1 / 3, 5: 2 / 3, 10: 2 / 3, 20: 2 / 3, 100: 2 / 3 },
    precisionReference: { 1: 1 / 3, 5: 1 / 3, 10: 1 / 3, 20: 1 / 3, 100: 0 },
    precision: { 1: 1 / 3, 5: 2 / 5 / 3, 10: 2 / 10 / 3, 20: 2 / 20 / 3, 100: 2 / 100 / 3 },
    recall: { 1: 1 / 3, 5: 1.5 / 3, 10: 1.5 / 3, 20: 1.5 / 3, 100: 1.5 / 3 },
    queries: { list: 4, public: 1, private: 2, ignored: 1, withoutNeighbours: 1 },
    galleryDigest: galleryOf(['a', 'b', 'c']).digest,
    galleryRows: 3,
    groundTruthDigest: createHash('sha256').update('broken Private a\npriv Private b z\npub Public a\n').digest('hex'),
    topK: 3,
  });
  expect(JSON.parse(await readFile(join(options.out, 'metrics.json'), 'utf8'))).toEqual(metrics);
  expect(await readFile(join(options.out, 'submission.csv'), 'utf8')).toBe('id,images\npub,a b c\nbroken,\nign,c b a\npriv,a b c\n');
  expect(await readdir(options.out)).toEqual(['metrics.json', 'per_query.parquet', 'submission.csv']);
  expect(await readScores(parquet, options.out)).toEqual({
    queries: [
      { ...unfound, queryId: 'broken', firstWrong: null, groundTruths: 1, hitsAt: hitsAt(0, 0, 1) },
      {
        ...{ queryId: 'priv', usage: 'Private', averagePrecision: 0.25, averagePrecisionReference: 0.25, groundTruths: 2, hits: 1 },
        ...{ continent: null, firstHit: 2, firstWrong: { rank: 1, imageId: 'a' }, hitsAt: hitsAt(0, 1, 2) },
      },
      {
        ...{ queryId: 'pub', usage: 'Public', averagePrecision: 1, averagePrecisionReference: 1, groundTruths: 1, hits: 1 },
        ...{ continent: null, firstHit: 1, firstWrong: { rank: 2, imageId: 'b' }, hitsAt: hitsAt(1, 1, 1) },
      },
    ],
    gallery: galleryOf(['a', 'b', 'c']),
    groundTruthDigest: metrics.groundTruthDigest,
  });
});

test('where the list of queries has continents, each is scored, and each query says which it is of', async () => {
  const options = await inputs();
  const columns = { image_id: 'text', continent: 'text' } as const;
  const rows = [
    ['pub', 'Asia'],
    ['broken', null],
    ['ign', 'Africa'],
    ['priv', 'North America'],
    // A query may have several labels; the first one counts.
    ['priv', 'Europe'],
  ];
  await parquet.write({ path: options.queryList, columns, rows });
  const { byContinent, ...metrics } = await evaluateNeighbours(options);
  expect(byContinent).toEqual({
    Asia: { queries: 1, kaggle: 1, reference: 1, interval: { low: 1, high: 1 } },
    'North America': { queries: 1, kaggle: 0.25, reference: 0.25, interval: { low: 0.25, high: 0.25 } },
  });
  expect(metrics).toEqual(await evaluateNeighbours(await inputs()));
  await parquet.write({ path: options.queryList, columns, rows });
  await evaluateNeighbours(options);
  const { queries } = await readScores(parquet, options.out);
  expect(queries.map(({ queryId, continent }) => [queryId, continent])).toEqual([
    ['broken', null],
    ['priv', 'North America'],
    ['pub', 'Asia'],
  ]);
});

test('scores of an earlier release are read, without what it did not write', async () => {
  const { out } = await inputs();
  const columns = { query_id: 'text', usage: 'text', ap_kaggle: 'double', ap_reference: 'double' } as const;
  const counts = { ground_truths: 'integer', hits: 'integer', first_hit: 'integer', first_wrong_rank: 'integer' } as const;
  await mkdir(out);
  await parquet.write({
    path: join(out, 'per_query.parquet'),
    columns: { ...columns, ...counts, first_wrong_image: 'text' },
    rows: [['pub', 'Public', 1, 1, 1, 1, 1, 2, 'b']],
    metadata: { groundTruthDigest: 'of all' },
  });
  const { queries } = await readScores(parquet, out);
  expect(queries).toMatchObject([{ queryId: 'pub', averagePrecision: 1, continent: null, hitsAt: null }]);
});

test('another cut-off is given besides', async () => {
  const metrics = await evaluateNeighbours({ ...(await inputs()), atK: 1 });
  expect(metrics.mapAt100.kaggle.private).toBe(1 / 8);
  expect(metrics.mapAtK).toMatchObject({ k: 1, kaggle: { public: 1, private: 0, all: 1 / 3 }, reference: 1 / 3 });
});

test.each([
  ['a usage that is none', [['pub', 'a', 'public']], 'row 1: the usage public is neither Public nor Private'],
  [
    'a query of two usages',
    [
      ['pub', 'a', 'Public'],
      ['pub', 'b', 'Private'],
    ],
    'row 2: the query pub is Private here, Public before',
  ],
  ['a query that is not in the list', [['other', 'a', 'Public']], 'row 1: the query other is not in the list of queries'],
])('%s in the ground truth is refused, with its row', async (_, truths, message) => {
  const failure = await evaluateNeighbours(await inputs(truths)).catch((error: unknown) => error);
  expect(failure).toMatchObject({ code: 'corrupt_artifact', message: expect.stringContaining(message) });
});

test('neighbours of other queries are refused', async () => {
  const options = await inputs();
  await parquet.write({ path: options.queryList, columns: { image_id: 'text' }, rows: [['pub'], ['broken'], ['priv']] });
  await expect(evaluateNeighbours(options)).rejects.toThrow('The query ign is predicted, but is not in the list of queries.');
});
