import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { defaultRerank, type RerankMode, rerankModes } from '@cairn/contract';
import { expect, test } from 'vitest';
import { readNpyHeader, readNpyRows } from '../features/npy.ts';
import { testParquet } from '../fixtures/test-files.ts';
import { type ModelFolders, openModels } from './open-models.ts';
import { rerankSearch } from './rerank-search.ts';

const file = (name: string): string => fileURLToPath(new URL(`testing/reference-case/${name}`, import.meta.url));

/**
 * Two models' feature sets (20 queries, 300 index images, 600 references) with what the functions of the reference (landmark_retrieval.py at
 * 684278e) made of them on a CPU in float32, at the settings of its submission: the merged similarities and `submission.csv` of each mode.
 */
const referenceCase = {
  labels: file('labels.parquet'),
  models: ['M0', 'M1'].map((name): ModelFolders => {
    const set = (kind: string): string => file(`sets/${name}/${kind}`);
    return { name, weight: 1, queries: set('query'), index: set('index'), references: set('references'), whitening: null };
  }),
  /** Queries x index, both by sorted id. */
  async similarities(mode: RerankMode): Promise<{ values: Float32Array; columns: number }> {
    const header = await readNpyHeader(file(`${mode}.npy`));
    const values = new Float32Array(header.rows * header.dim);
    await readNpyRows(file(`${mode}.npy`), header, 0, values);
    return { values, columns: header.dim };
  },
  submission: (mode: RerankMode): Promise<string> => readFile(file(`${mode}.csv`), 'utf8'),
};

/** How far the reference's own float32 is from ours. */
const bound = { off: 1e-4, before_merge: 1e-4, after_merge: 1e-4, k_reciprocal: 2e-3 };

test.each(rerankModes)("%s gives the reference's similarities and its first hundred images", async (mode) => {
  const parquet = await testParquet();
  const { models, labels } = referenceCase;
  const opened = await openModels({ parquet, models, labels });
  const settings = { ...defaultRerank, mode };
  const expected = await referenceCase.similarities(mode);
  const found = await rerankSearch({ ...opened, settings, topK: expected.columns, blockRows: 128, threads: 1 });
  expect(found.k).toBe(expected.columns);

  const submission = (await referenceCase.submission(mode)).trim().split('\n').slice(1);
  expect(submission.map((line) => line.split(',')[0])).toEqual(opened.queryIds);
  const placeOf = new Map([...opened.indexIds].map((id, place) => [id, place]));
  let worst = 0;
  for (const [query, line] of submission.entries()) {
    const value = (place: number): number => expected.values[query * expected.columns + place] as number;
    const theirs = (line.split(',')[1] ?? '').split(' ').map((id) => placeOf.get(id) as number);
    expect(theirs).toHaveLength(100);
    for (let rank = 0; rank < expected.columns; rank++) {
      const [place, score] = [found.rows[query * found.k + rank] as number, found.scores[query * found.k + rank] as number];
      worst = Math.max(worst, Math.abs(score - value(place)));
      const other = theirs[rank];
      if (other !== undefined && other !== place) expect(Math.abs(value(other) - value(place))).toBeLessThan(1e-5);
    }
  }
  expect(worst).toBeLessThan(bound[mode]);
});
