import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { defaultRerank } from '@cairn/contract';
import { sha256File } from '@cairn/runtime';
import { expect, test } from 'vitest';
import { imageIds, randomFeatures, writeParts } from '../fixtures/feature-set.ts';
import { temporaryFolder, testParquet } from '../fixtures/test-files.ts';
import { readNeighbours } from '../search/neighbours-file.ts';
import { searchModels } from './search-models.ts';

test('the manifest has the searched sets, and how many references reveal the answer', async () => {
  const parquet = await testParquet();
  const folder = await temporaryFolder();
  const set = async (name: string, ids: string[], seed: number): Promise<string> => {
    await writeParts(parquet, join(folder, name), 8, [{ part: 0, ids, features: randomFeatures(ids.length, 8, seed) }]);
    return join(folder, name);
  };
  const [queryIds, indexIds] = [imageIds(3, 'q'), imageIds(35, 'i')];
  const referenceIds = [...indexIds.slice(0, 30), 'q1', 'r1'];
  const model = {
    name: 'M0',
    weight: 2,
    queries: await set('queries', queryIds, 1),
    index: await set('index', indexIds, 2),
    references: await set('references', referenceIds, 3),
    whitening: null,
  };
  const labels = join(folder, 'labels.parquet');
  const rows = [...referenceIds, 'unread'].map((id, row) => [id, row % 5, row === 0 ? null : 'DE']);
  await parquet.write({ path: labels, columns: { image_id: 'text', label: 'integer', country: 'text' }, rows });
  const solution = join(folder, 'solution.csv');
  await writeFile(solution, 'id,images,Usage\nq0,i3 i4,Public\nq2,None,Ignored\nq9,i1,Private\n');
  const out = join(folder, 'out');

  const settings = { ...defaultRerank, mode: 'before_merge' as const };
  const given = { parquet, models: [model], labels, settings, localMatching: null, topK: 20, blockRows: 10, threads: 1, solution, out };
  const { manifest, scores } = await searchModels(given);
  expect(manifest).toMatchObject({
    gallery: { rows: 35 },
    queries: { rows: 3 },
    references: { rows: 32, ofGallery: 30, ofQueries: 1, labelsWithoutFeatures: 1, withoutCountry: 1 },
    models: [{ ...model, dim: 8, origin: { model: null, preprocessing: null, scales: null } }],
    labels: { sha256: await sha256File(labels) },
    settings: { mode: 'before_merge', alpha: 1 },
    localMatching: null,
  });
  expect(JSON.parse(await readFile(join(out, 'manifest.json'), 'utf8'))).toEqual(manifest);
  for (const { name, sha256 } of manifest.files) expect(await sha256File(join(out, name))).toBe(sha256);
  expect(new Set(await readdir(out))).toEqual(new Set([...manifest.files.map(({ name }) => name), 'manifest.json']));
  // q1 is searched though the solution does not know it; q9 was not searched and scores 0.
  expect(scores).toMatchObject({ unknownQueries: 1, metrics: { queries: { public: 1, private: 1, ignored: 1, withoutPredictions: 1 } } });
  const { neighbours, topK } = await readNeighbours(parquet, join(out, 'neighbours.parquet'));
  expect([topK, ...neighbours.keys()]).toEqual([20, ...queryIds]);
  expect(neighbours.get('q0')?.imageIds).toHaveLength(20);
});
