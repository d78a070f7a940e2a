import { join } from 'node:path';
import { defaultRerank } from '@cairn/contract';
import { expect, test } from 'vitest';
import { imageIds, randomFeatures, writeParts } from '../fixtures/feature-set.ts';
import { temporaryFolder, testParquet } from '../fixtures/test-files.ts';
import type { Parquet } from '../parquet/open-parquet.ts';
import { openModels } from './open-models.ts';
import { rerankSearch } from './rerank-search.ts';

type Label = readonly [id: string, label: number, country: string | null];
const labelled: Label[] = imageIds(5, 'r').map((id, row) => [id, row % 2, row === 0 ? null : 'DE']);

/** Two models' sets; `given` has other ids or another length of the vectors. */
async function open(parquet: Parquet, given: Record<string, { ids?: string[]; dim?: number }> = {}, rows: readonly Label[] = labelled) {
  const folder = await temporaryFolder();
  const set = async (name: string, count: number): Promise<string> => {
    const { ids = imageIds(count, name[2]), dim = 4 } = given[name] ?? {};
    await writeParts(parquet, join(folder, name), dim, [{ part: 0, ids, features: randomFeatures(ids.length, dim) }]);
    return join(folder, name);
  };
  const models = [];
  for (const name of ['A', 'B']) {
    const [queries, index, references] = [await set(`${name}.q`, 3), await set(`${name}.i`, 4), await set(`${name}.r`, 5)];
    models.push({ name, weight: 1, queries, index, references, whitening: null });
  }
  const labels = join(folder, 'labels.parquet');
  await parquet.write({ path: labels, columns: { image_id: 'text', label: 'integer', country: 'text' }, rows });
  return openModels({ parquet, models, labels });
}

test('queries and index go by their sorted ids, references by their list, without those of no label', async () => {
  const rows: Label[] = [['none', 7, 'FR'] as const, ...labelled.toReversed()].map(
    ([id, label, country]): Label => [id, id === 'r3' ? -1 : label, country],
  );
  const opened = await open(await testParquet(), { 'B.i': { ids: ['i3', 'i0', 'i2', 'i1'] } }, rows);
  expect([...opened.indexIds, ...opened.referenceIds]).toEqual(['i0', 'i1', 'i2', 'i3', 'r4', 'r2', 'r1', 'r0']);
  expect(opened).toMatchObject({
    queryIds: ['q0', 'q1', 'q2'],
    categories: [
      { label: 0, country: 'DE' },
      { label: 0, country: 'DE' },
      { label: 1, country: 'DE' },
      { label: 0, country: null },
    ],
    labelsWithoutFeatures: 1,
  });
  expect(opened.models[1]?.index.places).toEqual(Int32Array.of(3, 0, 2, 1));
  expect(opened.models[0]?.references?.places).toEqual(Int32Array.of(3, 2, 1, -1, 0));
});

test('an unknown country is not the country null', async () => {
  const rows = labelled.map(([id], row): Label => [id, 1, row === 0 ? null : 'null']);
  expect((await open(await testParquet(), {}, rows)).categories.map(({ country }) => country)).toEqual([
    null,
    'null',
    'null',
    'null',
    'null',
  ]);
});

test.each([
  [
    'a model lacks images of another',
    { 'B.i': { ids: ['i0', 'i1', 'i9'] } },
    labelled,
    /The index images of A lack images that another model has: 1, such as i9/,
  ],
  ['a query is missing', { 'B.q': { ids: ['q0', 'q2'] } }, labelled, /The queries of B lack images that another model has: 1, such as q1/],
  [
    'references are missing',
    { 'A.r': { ids: ['r0', 'r1'] } },
    labelled,
    /The references of A lack images that another model has: 3, such as r2, r3, r4/,
  ],
  ['the list does not cover the references', {}, labelled.slice(2), /has no label for 2 references, such as r0, r1/],
  ['the list has an image twice', {}, [...labelled, ['r1', 5, 'FR'] as const], /has more than one row for the image r1/],
])('it is refused where %s', async (_what, given, rows, message) => {
  await expect(open(await testParquet(), given, rows)).rejects.toMatchObject({
    code: 'bad_row',
    message: expect.stringMatching(message),
  });
});

test('vectors of different lengths are not compared', async () => {
  const { models } = await open(await testParquet(), { 'B.i': { dim: 6 } });
  const work = rerankSearch({ models, categories: [], settings: defaultRerank, topK: 3, blockRows: 10, threads: 1 });
  await expect(work).rejects.toMatchObject({
    code: 'model_mismatch',
    message: 'The queries of B have vectors of 4 values, the index images of B of 6. Extract all of them with one model.',
  });
});
