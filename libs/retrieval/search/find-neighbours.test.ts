import { seededRandom } from '@cairn/testing';
import { describe, expect, test } from 'vitest';
import { randomFeatures } from '../fixtures/feature-set.ts';
import { createTopScorer } from './create-scorer.ts';
import { type FindNeighboursOptions, findNeighbours, type VectorSource } from './find-neighbours.ts';

const dim = 24;

function galleryOf(values: Float32Array<ArrayBuffer>): VectorSource {
  return { rows: values.length / dim, dim, read: async (first, count) => values.slice(first * dim, (first + count) * dim) };
}

/** The same as the bits of float16; reading them as float32 fails. */
function halfOf(values: Float32Array<ArrayBuffer>): VectorSource {
  const bits = new Uint16Array(new Float16Array(values).buffer);
  return {
    rows: values.length / dim,
    dim,
    read: () => Promise.reject(new Error('read as float32')),
    async readHalf(first, into) {
      into.set(bits.subarray(first * dim, first * dim + into.length));
    },
  };
}

function vectors(count: number, seed: number): Float32Array<ArrayBuffer> {
  return new Float32Array(randomFeatures(count, dim, seed));
}

/** Every score in float64, sorted: by score, then by row. */
function bruteForce(queries: Float32Array, gallery: Float32Array, k: number): { rows: number[]; scores: number[] } {
  const best = Array.from({ length: queries.length / dim }, (_, query) => {
    const scored = Array.from({ length: gallery.length / dim }, (_, row) => {
      let score = 0;
      for (let index = 0; index < dim; index++) score += (queries[query * dim + index] ?? 0) * (gallery[row * dim + index] ?? 0);
      return { score, row };
    });
    return scored.sort((a, b) => b.score - a.score || a.row - b.row).slice(0, k);
  }).flat();
  return { rows: best.map(({ row }) => row), scores: best.map(({ score }) => score) };
}

async function found(queries: Float32Array<ArrayBuffer>, gallery: Float32Array<ArrayBuffer>, options: Partial<FindNeighboursOptions> = {}) {
  const { k, rows, scores } = await findNeighbours({
    queries: { values: queries, dim },
    gallery: galleryOf(gallery),
    topK: 10,
    blockRows: 300,
    threads: 1,
    ...options,
  });
  return { k, rows: [...rows], scores: [...scores] };
}

describe('the neighbours are those of a float64 loop, to the bit', () => {
  const [queries, gallery] = [vectors(17, 1), vectors(1000, 2)];

  test.each([1, 7, 300, 999, 1000, 5000])('in blocks of %i rows', async (blockRows) => {
    expect(await found(queries, gallery, { blockRows, topK: blockRows === 1 ? 3 : 10 })).toEqual({
      k: blockRows === 1 ? 3 : 10,
      ...bruteForce(queries, gallery, blockRows === 1 ? 3 : 10),
    });
  });

  test.each([7, 300, 5000])('read as float16 in blocks of %i rows', async (blockRows) => {
    expect(await found(queries, gallery, { gallery: halfOf(gallery), blockRows })).toMatchObject(bruteForce(queries, gallery, 10));
  });

  test('by the graph for GPUs, also where many vectors are alike', async () => {
    const scorer = await createTopScorer('cpu', 1);
    const alike = gallery.map((value, at) => (at < 500 * dim ? value : (gallery[at % (5 * dim)] ?? 0)));
    for (const vectors of [gallery, alike])
      expect(await found(queries, vectors, { scorer, topK: 5 })).toMatchObject(bruteForce(queries, vectors, 5));
    await scorer.close();
  });

  test('with two threads', async () => {
    expect(await found(queries, gallery, { threads: 2 })).toMatchObject(bruteForce(queries, gallery, 10));
  });

  test.each([1, 100, 1000, 3000])('for %i neighbours', async (topK) => {
    const k = Math.min(topK, 1000);
    expect(await found(queries, gallery, { topK })).toEqual({ k, ...bruteForce(queries, gallery, k) });
  });

  test('where many vectors are alike, in one block and across blocks', async () => {
    // 40 different vectors, each 25 times, in a random order.
    const next = seededRandom(5);
    const few = vectors(40, 3);
    const alike = new Float32Array(1000 * dim);
    for (let row = 0; row < 1000; row++) {
      const one = Math.floor(next() * 40);
      alike.set(few.subarray(one * dim, (one + 1) * dim), row * dim);
    }
    for (const [topK, blockRows] of [
      [10, 1000],
      [60, 128],
      [3, 50],
    ] as const) {
      expect(await found(queries, alike, { topK, blockRows })).toMatchObject(bruteForce(queries, alike, topK));
    }
  });

  test('where all vectors are the same', async () => {
    const same = new Float32Array(1000 * dim);
    for (let row = 0; row < 1000; row++) same.set(gallery.subarray(0, dim), row * dim);
    const { rows } = await found(queries, same, { topK: 5, blockRows: 400 });
    expect(rows.slice(0, 5)).toEqual([0, 1, 2, 3, 4]);
  });

  test('if float32 cannot distinguish the scores of a whole block', async () => {
    const query = new Float32Array(dim).fill(0.2);
    const near = new Float32Array(1000 * dim).fill(0.2);
    for (let row = 0; row < 1000; row++) near[row * dim] = 0.2 + ((row * 37) % 1000) * 2 ** -26;
    const few = new Float32Array(1000 * dim).fill(0.2);
    // Steps of 2^-36 on a value that has no larger one to drown it: the products differ only in float64.
    for (let row = 0; row < 1000; row++) few[row * dim] = ((row * 37) % 1000) * 2 ** -36;
    for (const gallery of [near, few]) {
      for (const blockRows of [1000, 400]) {
        expect(await found(query, gallery, { topK: 20, blockRows })).toMatchObject(bruteForce(query, gallery, 20));
      }
    }
  });
});

test('without queries or gallery nothing is found', async () => {
  expect(await found(vectors(3, 1), new Float32Array())).toEqual({ k: 0, rows: [], scores: [] });
  expect(await found(new Float32Array(), vectors(3, 1))).toEqual({ k: 3, rows: [], scores: [] });
});

test('a vector that is not of numbers is refused when it is missing among the neighbours', async () => {
  const gallery = vectors(3, 2);
  gallery[dim] = Number.NaN;
  const error = { code: 'bad_row', message: '1 of 3 neighbours of query 1 have scores that are not numbers' };
  await expect(found(vectors(2, 1), gallery, { topK: 3 })).rejects.toMatchObject(error);
});

test('vectors of different lengths are refused', async () => {
  const work = found(vectors(3, 1), vectors(3, 2), { queries: { values: new Float32Array(8), dim: 8 } });
  await expect(work).rejects.toMatchObject({ code: 'model_mismatch', message: expect.stringContaining('Queries of 8 values') });
});

test('progress counts gallery rows; an abort ends the search between blocks', async () => {
  const controller = new AbortController();
  const reason = new Error('superseded');
  const seen: number[] = [];
  const onProgress = ({ rows }: { rows: number }) => {
    seen.push(rows);
    if (seen.length === 2) controller.abort(reason);
  };
  const work = found(vectors(3, 1), vectors(1000, 2), { blockRows: 300, signal: controller.signal, onProgress });
  await expect(work).rejects.toBe(reason);
  expect(seen).toEqual([300, 600]);
});
