import { seededRandom } from '@cairn/testing';
import { idsOf, orderIds, tableIds } from '../../features/id-table.ts';
import { imageIds, randomFeatures } from '../../fixtures/feature-set.ts';
import type { Category } from '../category-boost.ts';
import type { ModelVectors } from '../model-vectors.ts';
import { placeFeatures } from '../placed-features.ts';
import type { Matrix, OracleModel } from './oracle.ts';

export type SmallModel = OracleModel & { name: string };

export const smallDim = 8;

/** `count` vectors around `centres` random ones, of length one in float16. */
export function clustered(count: number, centres: number, seed: number): number[][] {
  const next = seededRandom(seed);
  const middle = rowsOf(randomFeatures(centres, smallDim, 99));
  const noise = rowsOf(randomFeatures(count, smallDim, seed));
  return noise.map((vector) => {
    const centre = middle[Math.floor(next() * centres)] ?? [];
    const mixed = vector.map((value, at) => (centre[at] ?? 0) + 0.6 * value);
    const length = Math.hypot(...mixed);
    return [...new Float16Array(mixed.map((value) => value / length))];
  });
}

export function rowsOf(values: Float16Array): number[][] {
  return Array.from({ length: values.length / smallDim }, (_, row) => [...values.subarray(row * smallDim, (row + 1) * smallDim)]);
}

export type Shuffle = (rows: number[]) => number[];

/** The model's vectors as sets that lie in another order than that of their places: as `shuffle` puts them. */
export function vectorsOf({ name, weight, queries, index, references }: SmallModel, shuffle: Shuffle = (rows) => rows): ModelVectors {
  const placed = (matrix: Matrix, what: string) => {
    const order = idsOf(imageIds(matrix.length, what));
    const lying = shuffle([...matrix.keys()]);
    const values = new Float32Array(lying.flatMap((row) => [...(matrix[row] ?? [])]));
    const read = async (first: number, count: number) => values.slice(first * smallDim, (first + count) * smallDim);
    const features = { dir: what, dim: smallDim, ids: tableIds(order.table, Int32Array.from(lying)), parts: [], read };
    return placeFeatures(features, orderIds(order.table, order.numbers), `The ${what} of ${name}`);
  };
  return {
    name,
    weight,
    queries: placed(queries, 'queries'),
    index: placed(index, 'index'),
    references: placed(references, 'references'),
    tags: null,
    votes: null,
    whitening: null,
  };
}

/** Landmarks and countries, some unknown, by a seed. */
export function drawnCategories(count: number, seed: number): Category[] {
  const next = seededRandom(seed);
  const countries = ['DE', 'FR', 'JP', null];
  return Array.from({ length: count }, () => {
    const label = Math.floor(next() * 12);
    return { label, country: countries[label % 4] ?? null };
  });
}

/** Two models' vectors of the same images. */
export function smallModels({ queries = 6, index = 40, references = 80, seed = 1 } = {}): SmallModel[] {
  return [1, 0.5].map((weight, at) => ({
    name: `M${at}`,
    weight,
    queries: clustered(queries, 12, seed + at * 10),
    index: clustered(index, 12, seed + at * 10 + 1),
    references: clustered(references, 12, seed + at * 10 + 2),
  }));
}
