import { valueOfHalf } from '../features/npy.ts';
import { createTopList, type TopList } from './top-list.ts';

/** Rows of vectors in memory, dense: float32, or the bits of float16. */
export type Rows = Float32Array<ArrayBuffer> | Uint16Array<ArrayBuffer>;

/** The best rows of each query so far, and those of the present block that may belong to them. */
export type Candidates = {
  /** Neighbours wanted of each query. */
  readonly k: number;
  /** For each query: a row whose float32 score is below this is not among its best. */
  readonly thresholds: Float64Array;
  /** Begins a block of the gallery; `places` are those of its rows, if there is an order other than theirs. */
  begin(block: Rows, firstRow: number, places?: Int32Array): void;
  /** Adds a row of the block by its float32 score, which is not below the query's threshold. */
  add(query: number, row: number, score: number): void;
  /** Ends the block: its candidates are scored in float64, and the best are kept. */
  end(): void;
  /** Of each query. */
  readonly lists: readonly TopList[];
};

/**
 * Most rows of a block fail the threshold, which rises as better rows are found. The others wait, in float32, until there are too many or
 * the block ends; those that the threshold has overtaken meanwhile are never scored in float64. Memory: about 12 (k + k/4 + 32) bytes a
 * query for waiting rows, and as much for the best.
 */
export function createCandidates({ queries, dim, k }: { queries: Float32Array; dim: number; k: number }): Candidates {
  const count = queries.length / dim;
  // Bounds the rounding error of a float32 inner product of vectors of at most unit length.
  const tolerance = dim * 2 ** -23;
  const capacity = k + Math.ceil(k / 4) + 32;
  const scores = new Float32Array(count * capacity);
  const rows = new Int32Array(count * capacity);
  const sizes = new Int32Array(count);
  const thresholds = new Float64Array(count).fill(Number.NEGATIVE_INFINITY);
  const lists = Array.from({ length: count }, () => createTopList(k));
  const sorted = new Float32Array(capacity);
  const exact = new Float64Array(capacity);
  let block: Rows = new Float32Array();
  let firstRow = 0;
  let places: Int32Array | undefined;

  /** Drops waiting rows that k others, or the list, are certainly better than. */
  function prune(query: number): void {
    const [from, size] = [query * capacity, sizes[query] as number];
    if (size >= k) {
      const ascending = sorted.subarray(0, size);
      ascending.set(scores.subarray(from, from + size));
      ascending.sort();
      // Both scores may be rounded.
      thresholds[query] = Math.max(thresholds[query] as number, (ascending[size - k] as number) - 2 * tolerance);
    }
    const threshold = thresholds[query] as number;
    let kept = 0;
    for (let at = from; at < from + size; at++) {
      if ((scores[at] as number) < threshold) continue;
      scores[from + kept] = scores[at] as number;
      rows[from + kept] = rows[at] as number;
      kept += 1;
    }
    sizes[query] = kept;
  }

  /** Scores the waiting rows in float64. */
  function settle(query: number): void {
    const [from, size] = [query * capacity, sizes[query] as number];
    if (size === 0) return;
    innerProducts(queries, query * dim, block, rows.subarray(from, from + size), dim, exact);
    const list = lists[query] as TopList;
    for (let at = 0; at < size; at++) list.add(exact[at] as number, placeOf(rows[from + at] as number));
    sizes[query] = 0;
    thresholds[query] = Math.max(thresholds[query] as number, list.least() - tolerance);
  }

  const placeOf = (row: number): number => (places === undefined ? firstRow + row : (places[firstRow + row] as number));

  return {
    k,
    thresholds,
    lists,
    begin(rowsOfBlock, row, ofRows) {
      [block, firstRow, places] = [rowsOfBlock, row, ofRows];
    },
    add(query, row, score) {
      if (places !== undefined && placeOf(row) < 0) return;
      const size = sizes[query] as number;
      scores[query * capacity + size] = score;
      rows[query * capacity + size] = row;
      sizes[query] = size + 1;
      if (size + 1 < capacity) return;
      prune(query);
      // Many rows whose scores float32 cannot distinguish.
      if ((sizes[query] as number) > capacity - 16) settle(query);
    },
    end() {
      for (let query = 0; query < count; query++) {
        prune(query);
        settle(query);
      }
    },
  };
}

/** In float64: exact for vectors of float16. */
export function innerProduct(vector: Float32Array, block: Float32Array, offset: number): number {
  let sum = 0;
  for (let index = 0; index < vector.length; index++) sum += (vector[index] as number) * (block[offset + index] as number);
  return sum;
}

/** The inner products of a vector with rows of a block in float64, each added up in order: exact for vectors of float16. */
function innerProducts(vectors: Float32Array, at: number, block: Rows, rows: Int32Array, dim: number, into: Float64Array): void {
  const isHalf = block instanceof Uint16Array;
  // Four at a time: one sum would wait for each of its additions.
  for (let first = 0; first < rows.length; first += 4) {
    const offset = (next: number): number => (rows[Math.min(first + next, rows.length - 1)] as number) * dim;
    const [a, b, c, d] = [offset(0), offset(1), offset(2), offset(3)];
    let [sumA, sumB, sumC, sumD] = [0, 0, 0, 0];
    if (isHalf) {
      for (let index = 0; index < dim; index++) {
        const value = vectors[at + index] as number;
        sumA += value * (valueOfHalf[block[a + index] as number] as number);
        sumB += value * (valueOfHalf[block[b + index] as number] as number);
        sumC += value * (valueOfHalf[block[c + index] as number] as number);
        sumD += value * (valueOfHalf[block[d + index] as number] as number);
      }
    } else {
      for (let index = 0; index < dim; index++) {
        const value = vectors[at + index] as number;
        sumA += value * (block[a + index] as number);
        sumB += value * (block[b + index] as number);
        sumC += value * (block[c + index] as number);
        sumD += value * (block[d + index] as number);
      }
    }
    into[first] = sumA;
    if (first + 1 < rows.length) into[first + 1] = sumB;
    if (first + 2 < rows.length) into[first + 2] = sumC;
    if (first + 3 < rows.length) into[first + 3] = sumD;
  }
}
