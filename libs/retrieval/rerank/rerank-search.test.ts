import { defaultRerank, type RerankSettings, rerankModes } from '@cairn/contract';
import { seededRandom } from '@cairn/testing';
import { describe, expect, test } from 'vitest';
import { type RerankSearchOptions, rerankSearch } from './rerank-search.ts';
import { oracleSimilarities } from './testing/oracle.ts';
import { clustered, drawnCategories, type Shuffle, type SmallModel, smallModels, vectorsOf } from './testing/small-search.ts';

const categories = drawnCategories(80, 4);
const settingsOf = (given: Partial<RerankSettings>): RerankSettings => ({ ...defaultRerank, voteNeighbours: 8, k1: 4, ...given });

async function search(
  models: readonly SmallModel[],
  settings: RerankSettings,
  options: Partial<RerankSearchOptions> & { shuffle?: Shuffle } = {},
) {
  const { shuffle, ...given } = options;
  const vectors = models.map((model) => vectorsOf(model, shuffle));
  const found = await rerankSearch({ models: vectors, categories, settings, topK: 100, blockRows: 1000, threads: 1, ...given });
  return { k: found.k, rows: [...found.rows], scores: [...found.scores] };
}

/** The oracle's similarities, in the order of what was found. */
function asRanked(matrix: number[][], { k, rows }: { k: number; rows: number[] }): number[] {
  return rows.map((column, at) => matrix[Math.floor(at / k)]?.[column] ?? Number.NaN);
}

async function expectAsTheOracle(models: readonly SmallModel[], settings: RerankSettings, shown = categories) {
  const found = await search(models, settings, { categories: shown });
  const expected = oracleSimilarities(models, shown, settings);
  for (const [at, value] of asRanked(expected, found).entries()) expect(found.scores[at]).toBeCloseTo(value, 10);
  for (const [query, row] of expected.entries()) {
    expect(new Set(found.rows.slice(query * found.k, (query + 1) * found.k))).toEqual(new Set(row.keys()));
  }
  return found;
}

const shuffled = (seed: number): Shuffle => {
  const next = seededRandom(seed);
  return (rows) =>
    rows
      .map((row) => ({ row, key: next() }))
      .sort((a, b) => a.key - b.key)
      .map(({ row }) => row);
};

describe('the similarities are those of dense matrices and full sorts', () => {
  test.each(rerankModes)('with %s', async (mode) => {
    await expectAsTheOracle(smallModels(), settingsOf({ mode }));
  });

  test.each([
    { mode: 'after_merge', boostKReciprocal: true },
    { mode: 'before_merge', k2: 1 },
    { mode: 'k_reciprocal', k2: 1 },
    { mode: 'k_reciprocal', k1: 5, lambda: 0.8 },
    { mode: 'k_reciprocal', k1: 7, k2: 6 },
    { mode: 'before_merge', k1: 10, voteNeighbours: 30 },
    { mode: 'before_merge', votes: 8, alpha: 0.3, beta: 2, voteLambda: 0.2 },
    { mode: 'before_merge', k1: 60, k2: 60 },
  ] as const)('with %o', async (given) => {
    await expectAsTheOracle(smallModels({ seed: 50 }), settingsOf(given));
  });

  test.each([
    ['before_merge', 3],
    ['k_reciprocal', 3],
    ['before_merge', 1],
    ['k_reciprocal', 1],
  ] as const)('where more images are equal than have a place in their own list, with %s and a k2 of %d', async (mode, k2) => {
    const models = smallModels();
    for (const model of models) {
      const [one] = clustered(1, 12, 7);
      model.index = model.index.map((vector, row) => (row % 2 === 0 ? (one ?? []) : vector));
      model.references = model.references.map((vector, row) => (row % 3 === 0 ? (one ?? []) : vector));
      model.queries = model.queries.map((vector, row) => (row === 2 ? (one ?? []) : vector));
    }
    const { scores } = await expectAsTheOracle(models, settingsOf({ mode, k2 }));
    expect(scores.every(Number.isFinite)).toBe(true);
  });
});

describe('a result does not depend, to the bit,', () => {
  test.each(rerankModes)('on how the vectors lie, on blocks or threads, with %s', async (mode) => {
    const models = smallModels();
    const settings = settingsOf({ mode });
    const expected = await search(models, settings);
    for (const seed of [1, 2]) expect(await search(models, settings, { shuffle: shuffled(seed), blockRows: 7 })).toEqual(expected);
    expect(await search(models, settings, { threads: 2, blockRows: 3 })).toEqual(expected);
  });
});

test('where all images are equal they are ordered by id, however they lie', async () => {
  const [one = []] = clustered(1, 1, 3);
  const models = smallModels().map((model) => ({ ...model, index: model.index.map(() => one) }));
  for (const mode of rerankModes) {
    const { rows } = await search(models, settingsOf({ mode, k1: 4 }), { shuffle: shuffled(3), topK: 12 });
    // Of k-reciprocal sets, equal images before the eleventh have others than those after.
    if (mode !== 'k_reciprocal') expect(rows.slice(0, 12)).toEqual([...Array(12).keys()]);
    expect(new Set(rows.slice(0, 12)).size).toBe(12);
  }
});

test.each(['off', 'before_merge', 'k_reciprocal'] as const)(
  'weights of twice the size give twice the similarities, with %s',
  async (mode) => {
    const models = smallModels();
    const once = await search(models, settingsOf({ mode }));
    const twice = await search(
      models.map((model) => ({ ...model, weight: model.weight * 2 })),
      settingsOf({ mode }),
    );
    expect(twice).toEqual({ ...once, scores: once.scores.map((score) => score * 2) });
  },
);

test('one model without rerank is searched by float32 products first, with the same result to the bit', async () => {
  const [model] = smallModels();
  if (model === undefined) throw new Error('no model');
  const off = settingsOf({ mode: 'off' });
  // Only the weight 1 leaves the similarities as they are; the others are summed in float64.
  const [plain, weighted] = [
    { ...model, weight: 1 },
    { ...model, weight: 2 },
  ];
  for (const topK of [5, 100]) {
    const summed = await search([weighted], off, { topK });
    const expected = { ...summed, scores: summed.scores.map((score) => score / 2) };
    for (const seed of [1, 2]) expect(await search([plain], off, { topK, shuffle: shuffled(seed), blockRows: 7 })).toEqual(expected);
  }
});

test('before_merge weighs what is added with the model, after_merge does not', async () => {
  const models = smallModels().slice(1);
  const off = oracleSimilarities(models, categories, settingsOf({ mode: 'off' }));
  const raisedBy = async (mode: 'before_merge' | 'after_merge') => {
    const found = await search(models, settingsOf({ mode }));
    return Math.max(...asRanked(off, found).map((similarity, at) => (found.scores[at] ?? 0) - similarity));
  };
  expect(await raisedBy('after_merge')).toBeCloseTo(2 * (await raisedBy('before_merge')), 10);
});

test('an unknown country matches none, and its vote is lost', async () => {
  const models = smallModels();
  const unknown = categories.map(({ label }) => ({ label, country: null }));
  const settings = settingsOf({ mode: 'before_merge' });
  const found = await expectAsTheOracle(models, settings, unknown);
  expect(found).toEqual(await search(models, { ...settings, beta: 0 }));
});

test('fewer references than votes are looked for among are refused, as is a vote of more', async () => {
  const models = smallModels({ references: 7 });
  const few = search(models, settingsOf({ mode: 'before_merge' }), { categories: categories.slice(0, 7) });
  await expect(few).rejects.toMatchObject({ code: 'invalid_setting', message: expect.stringContaining('The references of M0 are 7') });
  expect((await search(models, settingsOf({ mode: 'off' }), { categories: [] })).k).toBe(40);
  await expect(search(models, settingsOf({ votes: 9 }))).rejects.toMatchObject({ code: 'invalid_setting' });
  await expect(search(models, settingsOf({ boostKReciprocal: true }))).rejects.toMatchObject({ code: 'invalid_setting' });
});

test.each([
  [0, 'is zero'],
  [Number.NaN, 'has a value that is not a finite number'],
  [2, 'has the length 5.66, not 1'],
])('a vector of %d is named', async (value, fault) => {
  const models = smallModels().map((model) => ({ ...model, index: model.index.with(3, Array(8).fill(value)) }));
  await expect(search(models, settingsOf({}))).rejects.toMatchObject({
    code: 'bad_row',
    message: `The index of M0: the vector of index3 ${fault}`,
  });
});

test('an abort ends it', async () => {
  const controller = new AbortController();
  const reason = new Error('enough');
  const onProgress = ({ what }: { what: string }) => {
    if (what === 'M1: votes') controller.abort(reason);
  };
  const work = search(smallModels(), settingsOf({ mode: 'before_merge' }), { signal: controller.signal, onProgress });
  await expect(work).rejects.toBe(reason);
});
