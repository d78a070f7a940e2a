import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { temporaryFolder } from '../fixtures/test-files.ts';
import { createScorer } from '../search/create-scorer.ts';
import { createProducts } from './create-products.ts';
import { clustered, rowsOf, smallDim, smallModels, vectorsOf } from './testing/small-search.ts';
import { learnWhitening, symmetricEigen, whitenVectors } from './whiten-vectors.ts';

async function meansOf() {
  const [products, scorer] = [await createProducts({ device: 'cpu', threads: 1 }), await createScorer({ device: 'cpu', threads: 1 })];
  onTestFinished(async () => {
    await products.close();
    await scorer.close();
  });
  return { products, scorer, blockRows: 100, threads: 1 };
}

test('eigenvectors are turned by their matrix into multiples of themselves, and are orthogonal', () => {
  const n = 7;
  const rows = clustered(n, 3, 5).map((row) => row.slice(0, n));
  const matrix = Float64Array.from({ length: n * n }, (_, at) =>
    rows.reduce((sum, row) => sum + (row[Math.floor(at / n)] ?? 0) * (row[at % n] ?? 0), 0),
  );
  const { values, vectors } = symmetricEigen(matrix, n);
  expect([...values]).toEqual([...values].sort((a, b) => b - a));
  const vector = (row: number) => [...vectors.subarray(row * n, (row + 1) * n)];
  const dot = (a: number[], b: number[]) => a.reduce((sum, value, at) => sum + value * (b[at] ?? 0), 0);
  for (let row = 0; row < n; row++) {
    for (let other = 0; other < n; other++) expect(dot(vector(row), vector(other))).toBeCloseTo(row === other ? 1 : 0, 12);
    const turned = vector(row).map((_, at) => dot([...matrix.subarray(at * n, (at + 1) * n)], vector(row)));
    for (const [at, value] of turned.entries()) expect(value).toBeCloseTo((values[row] ?? 0) * (vector(row)[at] ?? 0), 12);
  }
});

test('what it was learned from has no mean and the same variance in every direction, however it lies', async () => {
  const means = await meansOf();
  const [model] = smallModels({ index: 200 });
  if (model === undefined) throw new Error('no model was drawn');
  const { count, components, offset } = await learnWhitening(vectorsOf(model).index, 5, means);
  const turned = model.index.map((vector) =>
    Array.from({ length: count }, (_, row) =>
      vector.reduce((sum, value, at) => sum + value * (components[row * smallDim + at] ?? 0), -(offset[row] ?? 0)),
    ),
  );
  for (let row = 0; row < count; row++) {
    expect(turned.reduce((sum, vector) => sum + (vector[row] ?? 0), 0) / 200).toBeCloseTo(0, 10);
    for (let other = 0; other < count; other++) {
      const covariance = turned.reduce((sum, vector) => sum + (vector[row] ?? 0) * (vector[other] ?? 0), 0) / 200;
      expect(covariance).toBeCloseTo(row === other ? 1 : 0, 9);
    }
  }
  const shuffled = vectorsOf(model, (rows) => rows.toReversed()).index;
  expect(await learnWhitening(shuffled, 5, means)).toEqual({ count, components, offset });

  const written = await whitenVectors(shuffled, { count, components, offset }, means, join(await temporaryFolder(), 'whitened.npy'));
  expect([written.dim, written.rows]).toEqual([5, 200]);
  const [first = []] = turned;
  const length = Math.hypot(...first);
  const last = await written.read(199, 10);
  for (const [at, value] of first.entries()) expect(last[at]).toBeCloseTo(value / length, 3);
});

test('vectors that vary in fewer directions than are asked for are refused', async () => {
  const means = await meansOf();
  const [model] = smallModels();
  if (model === undefined) throw new Error('no model was drawn');
  const flat = {
    ...model,
    index: rowsOf(
      new Float16Array(model.index.flatMap(([x = 0, y = 0]) => [x, y, 0, 0, 0, 0, 0, 0].map((value) => value / Math.hypot(x, y)))),
    ),
  };
  const learn = (count: number | null) => learnWhitening(vectorsOf(flat).index, count, means);
  await expect(learn(3)).rejects.toMatchObject({ code: 'invalid_setting', message: expect.stringContaining('vary in 2 directions') });
  expect((await learn(null)).count).toBe(2);
});
