import { createHash } from 'node:crypto';
import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { seededRandom } from '@cairn/testing';
import { expect, test } from 'vitest';
import { readFeatureIds } from '../features/read-features.ts';
import { imageIds, randomFeatures, writeParts } from '../fixtures/feature-set.ts';
import { temporaryFolder, testParquet } from '../fixtures/test-files.ts';
import type { Parquet } from '../parquet/open-parquet.ts';
import { galleryOf, readNeighbours } from './neighbours-file.ts';
import { openScan } from './scan-index.ts';
import { type SearchExactOptions, searchExact } from './search-exact.ts';

const dim = 8;
const galleryIds = imageIds(30, 'g');
const gallery = randomFeatures(30, dim, 1);

/** A gallery in two parts; the queries are its rows 3 and 20, a little of row 4 added to the first. */
async function search(parquet: Parquet, options: Partial<SearchExactOptions> = {}) {
  const folder = await temporaryFolder();
  const index = join(folder, 'index');
  await writeParts(parquet, index, dim, [
    { part: 0, ids: galleryIds.slice(0, 13), features: gallery.slice(0, 13 * dim) },
    { part: 1, ids: galleryIds.slice(13), features: gallery.slice(13 * dim) },
  ]);
  const query = join(folder, 'query');
  const features = new Float16Array([...gallery.slice(3 * dim, 4 * dim), ...gallery.slice(20 * dim, 21 * dim)]);
  await writeParts(parquet, query, dim, [{ part: 0, ids: ['q3', 'q20'], features }]);
  const out = join(folder, 'out', 'neighbours.parquet');
  return searchExact({ parquet, queries: query, index, topK: 5, blockRows: 7, threads: 1, out, ...options });
}

test('each query finds itself first, then the next by score, with ids across parts', async () => {
  const parquet = await testParquet();
  const result = await search(parquet);
  expect(result).toMatchObject({ queries: 2, k: 5, gallery: { rows: 30 } });
  const { neighbours, gallery: searched, topK } = await readNeighbours(parquet, result.file.path);
  expect([...neighbours.keys()]).toEqual(['q3', 'q20']);
  expect(neighbours.get('q3')?.imageIds[0]).toBe('g3');
  expect(neighbours.get('q20')?.imageIds[0]).toBe('g20');
  for (const { imageIds: ids, scores } of neighbours.values()) {
    expect(new Set(ids).size).toBe(5);
    expect(scores).toEqual(scores.toSorted((a, b) => b - a));
    expect(scores[0]).toBeCloseTo(1, 2);
  }
  expect([searched, topK]).toEqual([result.gallery, 5]);
});

test('the file matches its description, and is the same for other blocks', async () => {
  const parquet = await testParquet();
  const [a, b] = [await search(parquet), await search(parquet, { blockRows: 1000 })];
  expect(a.file.sha256).toBe(b.file.sha256);
  const bytes = await readFile(a.file.path);
  expect(a.file).toMatchObject({ bytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') });
  expect(await readdir(join(a.file.path, '..'))).toEqual(['neighbours.parquet']);
});

test('equal images are ordered by id, whatever the order of the shards and of their rows', async () => {
  const parquet = await testParquet();
  const vectors = randomFeatures(3, dim, 4);
  const ids = imageIds(90, 'x');
  const vectorOf = (id: string) => vectors.slice((Number(id.slice(1)) % 3) * dim, ((Number(id.slice(1)) % 3) + 1) * dim);
  const queries = { ids: ['q'], values: new Float32Array(vectors.slice(0, dim)), dim };
  const expected = ids.filter((id) => Number(id.slice(1)) % 3 === 0).toSorted();
  for (const seed of [1, 2, 3]) {
    const next = seededRandom(seed);
    const lying = ids.map((id) => ({ id, key: next() })).sort((a, b) => a.key - b.key);
    const parts = [0, 1, 2].map((part) => {
      const some = lying.filter((_, row) => row % 3 === part).map(({ id }) => id);
      return { part, ids: some, features: new Float16Array(some.flatMap((id) => [...vectorOf(id)])) };
    });
    const index = join(await temporaryFolder(), 'index');
    await writeParts(parquet, index, dim, parts);
    const { file } = await search(parquet, { index, queries, topK: 30 });
    expect((await readNeighbours(parquet, file.path)).neighbours.get('q')?.imageIds).toEqual(expected);
  }
});

/** Ninety images in three parts, each a copy of one of three vectors, in an order of their own; four queries, two of them alike. */
async function tiedSets(parquet: Parquet) {
  const folder = await temporaryFolder();
  const [queries, index] = [join(folder, 'queries'), join(folder, 'tied')];
  const vectors = randomFeatures(3, dim, 4);
  const vectorAt = (row: number) => vectors.slice((row % 3) * dim, ((row % 3) + 1) * dim);
  const next = seededRandom(7);
  const lying = imageIds(90, 'x').map((id) => ({ id, key: next() }));
  const ids = lying.toSorted((a, b) => a.key - b.key).map(({ id }) => id);
  const parts = [0, 1, 2].map((part) => ids.slice(30 * part, 30 * (part + 1)));
  const featuresOf = (some: readonly string[]) => new Float16Array(some.flatMap((id) => [...vectorAt(Number(id.slice(1)))]));
  await writeParts(
    parquet,
    index,
    dim,
    parts.map((some, part) => ({ part, ids: some, features: featuresOf(some) })),
  );
  const rows = new Float16Array([...randomFeatures(2, dim, 9), ...vectorAt(1), ...vectorAt(1)]);
  await writeParts(parquet, queries, dim, [{ part: 0, ids: ['qd', 'qa', 'qc', 'qb'], features: rows }]);
  return { folder, queries, index };
}

/** The candidates of the shards, as a fleet makes them. */
async function scanned(
  parquet: Parquet,
  shards: readonly [from: number, count: number][],
  { topK = 40, origin = { query: 'a', index: 'b' } } = {},
) {
  const sets = await tiedSets(parquet);
  const scan = await openScan({
    parquet,
    ...sets,
    origin: { ...origin, topK },
    device: 'cpu',
    threads: 1,
    blockRows: 7,
    maxCandidates: 90,
  });
  const outDir = join(sets.folder, 'made');
  const made = [];
  for (const [part, [from, count]] of shards.entries()) made.push(await scan.computeShard({ part, from, count, outDir }));
  return { ...sets, made, candidates: { dir: outDir, origin: { query: 'a', index: 'b' } } };
}

test('shards of any size, merged, are what one search finds to the bit, without reading a vector again', async () => {
  const parquet = await testParquet();
  // The second shard has one row, the third fewer than are kept; the others begin within a part.
  const { candidates, queries, index, made } = await scanned(parquet, [
    [0, 31],
    [31, 1],
    [32, 20],
    [52, 38],
  ]);
  expect(made[1]?.idsSha256).toBe(
    createHash('sha256')
      .update(`${(await readFeatureIds(index, parquet)).at(31)}\n`)
      .digest('hex'),
  );
  const alone = await search(parquet, { queries, index, topK: 40 });
  for (const set of [queries, index]) await rm(join(set, 'img_emb'), { recursive: true });
  const merged = await search(parquet, { queries, index, candidates, topK: 40 });
  expect(merged.file.sha256).toBe(alone.file.sha256);
  expect(merged).toMatchObject({ queries: 4, k: 40, gallery: alone.gallery });
  // Fewer are the first of them.
  const fewer = await search(parquet, { queries, index, candidates, topK: 3 });
  const { neighbours } = await readNeighbours(parquet, alone.file.path);
  for (const [query, { imageIds: ids }] of (await readNeighbours(parquet, fewer.file.path)).neighbours)
    expect(ids).toEqual(neighbours.get(query)?.imageIds.slice(0, 3));
});

test.each([
  [
    'of other features',
    { origin: { query: 'a', index: 'c' } },
    'has candidates of other features of the index: of c, not of b',
    'model_mismatch',
  ],
  ['with fewer neighbours', { topK: 39 }, 'has the 39 nearest of each query; the search needs 40', 'model_mismatch'],
] as const)('candidates %s are refused', async (_, options, message, code) => {
  const parquet = await testParquet();
  const { queries, index, candidates } = await scanned(parquet, [[0, 90]], options);
  const merging = search(parquet, { queries, index, candidates, topK: 40 });
  await expect(merging).rejects.toMatchObject({ code, message: expect.stringContaining(message) });
});

test.each([
  ['the last', [[0, 40]], 'rows between 40 and 90'],
  [
    'one in the middle',
    [
      [0, 40],
      [50, 40],
    ],
    'rows between 40 and 50',
  ],
  [
    'none, but one overlaps',
    [
      [0, 40],
      [39, 51],
    ],
    'rows between 40 and 39',
  ],
] satisfies [string, [number, number][], string][])('candidates whose shards lack %s are corrupt', async (_, shards, message) => {
  const parquet = await testParquet();
  const { queries, index, candidates } = await scanned(parquet, shards);
  const merging = search(parquet, { queries, index, candidates, topK: 40 });
  await expect(merging).rejects.toMatchObject({ code: 'corrupt_artifact', message: expect.stringContaining(message) });
});

test('candidates that lack some of a query are corrupt', async () => {
  const parquet = await testParquet();
  const { queries, index, candidates, made } = await scanned(parquet, [[0, 90]]);
  const path = made[0]?.file.path ?? '';
  const metadata = Object.fromEntries(await parquet.metadata(path));
  const columns = { query_row: 'integer', index_row: 'integer', score: 'double' } as const;
  const table = await parquet.query({ path, sql: 'select query_row, index_row, score from read_parquet($path) offset 1' });
  const [rows, scores] = [table.integer('index_row'), table.number('score')];
  const cells = table.integer('query_row').map((query, at) => [query, rows[at] ?? 0, scores[at] ?? 0]);
  await parquet.write({ path, columns, rows: cells, metadata });
  const merging = () => search(parquet, { queries, index, candidates, topK: 40 });
  await expect(merging()).rejects.toThrow('has 39 candidates of the query row 0 instead of 40');
  await parquet.write({ path, columns, rows: [[0, 90, 1], ...cells], metadata });
  await expect(merging()).rejects.toThrow('has the query row 0 with the index row 90, which are not of its shard');
});

test('queries may be given as vectors', async () => {
  const parquet = await testParquet();
  const queries = { ids: ['only'], values: new Float32Array(gallery.slice(0, dim)), dim };
  const { file } = await search(parquet, { queries });
  expect((await readNeighbours(parquet, file.path)).neighbours.get('only')?.imageIds[0]).toBe('g0');
  await expect(search(parquet, { queries: { ...queries, ids: ['a', 'b'] } })).rejects.toThrow('8 values do not make 2 queries of 8');
});

test('a gallery is known by its images, not by their order', () => {
  expect(galleryOf(['b', 'a'])).toEqual(galleryOf(['a', 'b']));
  expect(galleryOf(['a', 'b']).digest).not.toBe(galleryOf(['a', 'bb']).digest);
  expect(galleryOf(['ab']).digest).not.toBe(galleryOf(['a', 'b']).digest);
});

test('a file with a rank missing, or of another kind, is corrupt', async () => {
  const parquet = await testParquet();
  const path = join(await temporaryFolder(), 'neighbours.parquet');
  const columns = { query_id: 'text', rank: 'integer', image_id: 'text', score: 'double' } as const;
  const metadata = { galleryDigest: 'd', galleryRows: '1', topK: '2' };
  await parquet.write({
    path,
    columns,
    metadata,
    rows: [
      ['q', 1, 'a', 1],
      ['q', 3, 'b', 0.5],
    ],
  });
  await expect(readNeighbours(parquet, path)).rejects.toThrow(`${path}: row 2 has rank 3 for query q, where 2 follows`);
  await parquet.write({ path, columns, rows: [] });
  await expect(readNeighbours(parquet, path)).rejects.toThrow('does not say which gallery was searched');
});
