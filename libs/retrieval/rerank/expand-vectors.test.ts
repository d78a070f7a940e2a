import { defaultRerank, type RerankSettings } from '@cairn/contract';
import { expect, test } from 'vitest';
import { temporaryFolder } from '../fixtures/test-files.ts';
import { rerankSearch } from './rerank-search.ts';
import { oracleSimilarities } from './testing/oracle.ts';
import { type Shuffle, smallModels, vectorsOf } from './testing/small-search.ts';

const models = smallModels();

function dot(a: readonly number[], b: readonly number[]): number {
  return a.reduce((sum, value, at) => sum + value * (b[at] ?? 0), 0);
}

/** From the definition: v + sum over the n nearest others of cosine^alpha x, of those on the same side, at length one, in float16. */
function expanded(vectors: readonly (readonly number[])[], gallery: readonly (readonly number[])[], n: number, alpha: number): number[][] {
  return vectors.map((vector, own) => {
    const others = gallery
      .map((other, at) => ({ other, at, cosine: dot(vector, other) }))
      .filter(({ at }) => gallery !== vectors || at !== own);
    const nearest = others.sort((a, b) => b.cosine - a.cosine || a.at - b.at).slice(0, n);
    const sum = vector.map((value, at) =>
      nearest.reduce((total, { other, cosine }) => total + (cosine > 0 ? cosine ** alpha : 0) * (other[at] ?? 0), value),
    );
    const length = Math.sqrt(dot(sum, sum));
    return [...new Float16Array(sum.map((value) => value / length))];
  });
}

async function search(given: Partial<RerankSettings>, shuffle?: Shuffle, blockRows = 1000) {
  const settings = { ...defaultRerank, ...given };
  const vectors = models.map((model) => vectorsOf(model, shuffle));
  const scratch = await temporaryFolder();
  const found = await rerankSearch({ models: vectors, categories: [], settings, topK: 40, blockRows, threads: 1, scratch });
  return { k: found.k, rows: [...found.rows], scores: [...found.scores] };
}

test.each([
  { expandQueries: 3, expandQueriesAlpha: 2 },
  { augmentIndex: 4, augmentIndexAlpha: 1 },
  { expandQueries: 2, augmentIndex: 5, expandQueriesAlpha: 0 },
  { expandQueries: 100, augmentIndex: 100, augmentIndexAlpha: 0 },
])('vectors take in their neighbours as defined, with %o', async (given) => {
  const { expandQueries, augmentIndex, expandQueriesAlpha, augmentIndexAlpha } = { ...defaultRerank, ...given };
  const expected = oracleSimilarities(
    models.map((model) => {
      const index = augmentIndex === 0 ? model.index : expanded(model.index, model.index, augmentIndex, augmentIndexAlpha);
      const queries = expandQueries === 0 ? model.queries : expanded(model.queries, index, expandQueries, expandQueriesAlpha);
      return { ...model, index, queries };
    }),
    [],
    defaultRerank,
  );
  const found = await search(given);
  // Both round to float16 what they have in float64 and float32: a value may fall on the other side.
  for (const [at, column] of found.rows.entries()) {
    expect(Math.abs((found.scores[at] ?? 0) - (expected[Math.floor(at / found.k)]?.[column] ?? 0))).toBeLessThan(1e-3);
  }
});

test('however they lie, in whatever blocks', async () => {
  const given = { expandQueries: 3, augmentIndex: 3 };
  expect(await search(given, (rows) => rows.toReversed(), 7)).toEqual(await search(given));
});
