import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { seededRandom } from '@cairn/testing';
import { expect, test } from 'vitest';
import { imageIds, randomFeatures, writeParts } from '../fixtures/feature-set.ts';
import { temporaryFolder, testParquet } from '../fixtures/test-files.ts';
import type { Parquet } from '../parquet/open-parquet.ts';
import { galleryOf, readNeighbours } from './neighbours-file.ts';
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
