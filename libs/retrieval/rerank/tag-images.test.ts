import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { sha256 } from '@cairn/runtime';
import { expect, test } from 'vitest';
import { idsOf, orderIds } from '../features/id-table.ts';
import { imageIds, randomFeatures, writeParts } from '../fixtures/feature-set.ts';
import { temporaryFolder, testParquet } from '../fixtures/test-files.ts';
import { openTagging } from './tag-images.ts';
import { readTags } from './tags-file.ts';

const dim = 8;
const origin = { index: 'a', references: 'b', list: 'c' };
const indexIds = imageIds(20, 'i');
const index = randomFeatures(20, dim, 1);
/** The last ten of thirty are copies of the first ten, so that there are ties. */
const drawn = randomFeatures(20, dim, 2);
const references = new Float16Array([...drawn, ...drawn.subarray(0, 10 * dim)]);
const stored = imageIds(30, 'r');
/** The list has another order than the features, and no landmark for r25. */
const listed = stored.toReversed().map((id, row) => [id, id === 'r25' ? -1 : row % 3, null]);

async function openAll() {
  const parquet = await testParquet();
  const folder = await temporaryFolder();
  const [indexDir, referencesDir, labels] = [join(folder, 'index'), join(folder, 'references'), join(folder, 'labels.parquet')];
  await writeParts(parquet, indexDir, dim, [
    { part: 0, ids: indexIds.slice(0, 7), features: index.slice(0, 7 * dim) },
    { part: 1, ids: indexIds.slice(7), features: index.slice(7 * dim) },
  ]);
  await writeParts(parquet, referencesDir, dim, [{ part: 0, ids: stored, features: references }]);
  await parquet.write({ path: labels, columns: { image_id: 'text', label: 'integer', country: 'text' }, rows: listed });
  const sets = { index: indexDir, references: referencesDir, labels };
  const tagging = await openTagging({ parquet, ...sets, origin, device: 'cpu', threads: 1, blockRows: 7 });
  return { parquet, dir: join(folder, 'made'), tagging };
}

/** By a loop over the list: the nearest reference with a landmark, the first one on ties. */
function nearest(row: number): string {
  const order = listed.flatMap(([id, label]) => (label === -1 ? [] : [String(id)]));
  const score = (id: string): number => {
    const at = stored.indexOf(id);
    return index.subarray(row * dim, (row + 1) * dim).reduce((sum, value, next) => sum + value * (references[at * dim + next] ?? 0), 0);
  };
  return order.reduce((best, id) => (score(id) > score(best) ? id : best));
}

const orderOf = (ids: readonly string[]) => {
  const { table, numbers } = idsOf(ids);
  return orderIds(table, numbers);
};

test('shards of any size together tag each image with its nearest reference of the list, the first one on ties', async () => {
  const { parquet, dir, tagging } = await openAll();
  const shards = [];
  for (const [part, [from, count]] of [
    [0, 9],
    [9, 1],
    [10, 10],
  ].entries())
    shards.push(await tagging.computeShard({ part, from: from ?? 0, count: count ?? 0, outDir: dir }));
  expect(shards[0]?.idsSha256).toBe(
    sha256(
      indexIds
        .slice(0, 9)
        .map((id) => `${id}\n`)
        .join(''),
    ),
  );
  const referenceIds = listed.flatMap(([id, label]) => (label === -1 ? [] : [String(id)]));
  const ids = { indexIds: orderOf(indexIds.toReversed()), referenceIds: orderOf(referenceIds) };
  const tags = await readTags({ parquet, dir, origin, ...ids });
  expect(Array.from(tags, (place) => referenceIds[place])).toEqual(indexIds.map((_, row) => nearest(row)).toReversed());

  await expect(readTags({ parquet, dir, origin: { ...origin, list: 'd' }, ...ids })).rejects.toMatchObject({
    code: 'model_mismatch',
    message: expect.stringContaining('has the tags of other references: of c, not of d'),
  });
  await expect(readTags({ parquet, dir, origin, ...ids, referenceIds: orderOf(['r0']) })).rejects.toThrow('which is not a reference');
  await rm(shards[1]?.file.path ?? '');
  await expect(readTags({ parquet, dir, origin, ...ids })).rejects.toThrow('lack 1 of 20 index images, such as i9');
});
