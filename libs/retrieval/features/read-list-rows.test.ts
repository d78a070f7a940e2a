import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { temporaryFolder, testParquet } from '../fixtures/test-files.ts';
import type { Parquet } from '../parquet/open-parquet.ts';
import { readImageIds } from './id-table.ts';
import { readListRows } from './read-list-rows.ts';

async function listOf(parquet: Parquet, ids: readonly string[]): Promise<string> {
  const path = join(await temporaryFolder(), 'index.parquet');
  const columns = { image_id: 'text', path: 'text', label: 'integer', noisy: 'integer', country: 'text', continent: 'text' } as const;
  await parquet.write({ path, columns, rows: ids.map((id, row) => [id, `${id}.jpg`, row, 0, null, null]) });
  return path;
}

test('images come in the order of the list, each once, where it first occurs', async () => {
  const parquet = await testParquet();
  const path = await listOf(parquet, ['c', 'a', 'c', 'b', 'a', 'd', 'd']);
  const rows = await readListRows(parquet, { path });
  expect(rows.map((row) => row.imageId)).toEqual(['c', 'a', 'b', 'd']);
  expect(rows[0]).toEqual({ imageId: 'c', path: 'c.jpg', tar: null, offset: null, size: null });
});

test('shards of a list are a partition of its distinct images, also across row groups', async () => {
  const parquet = await testParquet();
  // More than one row group of 122,880; each image twice, in another order.
  const ids = Array.from({ length: 140_000 }, (_, row) => `id${(row * 7919) % 70_000}`);
  const path = await listOf(parquet, ids);
  const distinct = [...new Set(ids)];
  const shards = [];
  for (const [from, count] of [
    [0, 25_000],
    [25_000, 25_000],
    [50_000, 25_000],
  ] as const) {
    const rows = await readListRows(parquet, { path, from, count });
    shards.push(rows.map((row) => row.imageId));
  }
  expect(shards.map((shard) => shard.length)).toEqual([25_000, 25_000, 20_000]);
  expect(shards.flat().join()).toBe(distinct.join());
  expect(await readListRows(parquet, { path, from: 70_000, count: 10 })).toEqual([]);
});

test('where images are numbered, only the row groups with those of the shard are read', async () => {
  const parquet = await testParquet();
  const path = join(await temporaryFolder(), 'index.parquet');
  // Two row groups: an image stands twice in a row, and the last row is one of the first group again.
  const numbers = [...Array.from({ length: 140_000 }, (_, row) => Math.floor(row / 2)), 0];
  const columns = { image_id: 'text', path: 'text', image_number: 'integer' } as const;
  await parquet.write({ path, columns, rows: numbers.map((number, row) => [`id${number}`, `${row}.jpg`, number]) });
  expect((await readListRows(parquet, { path, from: 0, count: 2 })).map((row) => row.path)).toEqual(['0.jpg', '2.jpg']);

  const file = await open(path, 'r+');
  await file.write(Buffer.alloc(20_000, 255), 0, 20_000, 4);
  await file.close();
  const rows = await readListRows(parquet, { path, from: 65_000, count: 3 });
  expect(rows.map((row) => [row.imageId, row.path])).toEqual([
    ['id65000', '130000.jpg'],
    ['id65001', '130002.jpg'],
    ['id65002', '130004.jpg'],
  ]);
  await expect(readListRows(parquet, { path, from: 0, count: 2 })).rejects.toMatchObject({ code: 'corrupt_artifact' });
});

test('a tar source gives the place of each image in its tar', async () => {
  const parquet = await testParquet();
  const path = join(await temporaryFolder(), 'train.parquet');
  await parquet.write({
    path,
    columns: { image_id: 'text', path: 'text', tar: 'text', offset: 'integer', size: 'integer' },
    rows: [
      ['a', 'a/b/c/a.jpg', 'train/images_000.tar', 512, 90_000],
      ['b', 'b/b/c/b.jpg', null, null, null],
    ],
  });
  expect(await readListRows(parquet, { path })).toEqual([
    { imageId: 'a', path: 'a/b/c/a.jpg', tar: 'train/images_000.tar', offset: 512, size: 90_000 },
    { imageId: 'b', path: 'b/b/c/b.jpg', tar: null, offset: null, size: null },
  ]);
});

test('the ids of a list are read as often as it has them', async () => {
  const parquet = await testParquet();
  expect(await readImageIds(parquet, await listOf(parquet, ['b', 'a', 'b']))).toEqual(['b', 'a', 'b']);
});

test('a file that is not a list is named', async () => {
  const parquet = await testParquet();
  const path = join(await temporaryFolder(), 'other.parquet');
  await parquet.write({ path, columns: { image_id: 'text' }, rows: [['a']] });
  await expect(readListRows(parquet, { path })).rejects.toMatchObject({ code: 'corrupt_artifact', message: expect.stringContaining(path) });
});
