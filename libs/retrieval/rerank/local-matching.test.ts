import { join } from 'node:path';
import { expect, test } from 'vitest';
import { temporaryFolder, testParquet } from '../fixtures/test-files.ts';
import { placesInList, reorder } from './local-matching.ts';

test('images are ordered by similarity and inliers, of which only so many count, and equal ones by place', () => {
  const places = Int32Array.of(7, 3, 9, 1, 5);
  const similarities = Float64Array.of(0.75, 0.5, 0.5, 0.25, 0.25);
  reorder(places, similarities, [0, 45, 90, 4000, 90], { weight: 0.5, mostInliers: 90 });
  expect([...places]).toEqual([9, 1, 3, 5, 7]);
  expect([...similarities]).toEqual([1, 0.75, 0.75, 0.75, 0.75]);
});

test('the places of images are those of their first rows in the list, which has to have them', async () => {
  const parquet = await testParquet();
  const path = join(await temporaryFolder(), 'index.parquet');
  const columns = { image_id: 'text', path: 'text', tar: 'text', offset: 'integer', size: 'integer', file_bytes: 'integer' } as const;
  const rows = [
    ['aaa', 'index/aaa.jpg', null, null, null, 10],
    ['bbb', 'index/bbb.jpg', 'index/images_000.tar', 512, 20, 2048],
    ['aaa', 'index/other.jpg', null, null, null, 10],
  ];
  const changed = { file_changed_ms: 'integer' } as const;
  await parquet.write({ path, columns: { ...columns, ...changed }, rows: rows.map((row) => [...row, 1000]) });
  const found = await placesInList(parquet, path, new Set(['bbb', 'aaa']));
  expect(found.get('aaa')).toEqual({
    ...{ path: 'index/aaa.jpg', tar: null, offset: null, size: null },
    ...{ fileBytes: 10, fileChangedMs: 1000, isRecorded: true },
  });
  expect(found.get('bbb')).toMatchObject({ path: 'index/bbb.jpg', tar: 'index/images_000.tar', offset: 512, size: 20, fileBytes: 2048 });
  await parquet.write({ path, columns: { image_id: 'text', path: 'text' }, rows: [['aaa', 'index/aaa.jpg']] });
  expect((await placesInList(parquet, path, new Set(['aaa']))).get('aaa')).toMatchObject({ isRecorded: false, fileBytes: null });
  await expect(placesInList(parquet, path, new Set(['aaa', 'ccc']))).rejects.toThrow(/has 1 of the 2 images to match; it lacks ccc/);
});
