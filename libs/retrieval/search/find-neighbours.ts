import { CairnError } from '@cairn/contract';
import type { Device } from '../onnx/create-session.ts';
import { type Best, createScorer, type Scorer } from './create-scorer.ts';
import { createTopList, type TopList } from './top-list.ts';

/** Vectors of one length, each at most of unit length: rows x dim, dense. */
export type Vectors = { values: Float32Array<ArrayBuffer>; dim: number };

/** Vectors that are read in blocks. */
export type VectorSource = {
  rows: number;
  dim: number;
  read(firstRow: number, count: number): Promise<Float32Array<ArrayBuffer>>;
};

export type FindNeighboursOptions = {
  queries: Vectors;
  gallery: VectorSource;
  topK: number;
  /** Gallery rows per matrix product. */
  blockRows: number;
  /** CPU threads of ONNX Runtime. */
  threads: number;
  device?: Device;
  /** An open scorer to reuse for several searches; it is not closed. */
  scorer?: Scorer;
  /**
   * The place of each gallery row in a separate order, -1 for a skipped row. Equal scores are then ordered by place, and the results are
   * places, so that they do not depend on the order of the gallery on disk.
   */
  places?: Int32Array;
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: { rows: number; total: number }) => void) | undefined;
};

/** Per query `k` = min(topK, gallery rows) neighbours, the best first: queries x k rows of the gallery and their scores. */
export type Neighbours = { k: number; rows: Int32Array; scores: Float64Array };

/** Maximum number of scores of one matrix product: 2^26 float32 are 256 MB. */
const MAX_SCORES = 1 << 26;

/**
 * The exact nearest neighbours by inner product, which is the cosine for vectors of unit length. ONNX Runtime multiplies in float32, block
 * by block, and returns each block's best; candidates are scored again in float64. Features of float16 have exact float64 inner products,
 * so neither `blockRows` nor threads nor the device change a single bit. On `cuda` this requires that the process was started with
 * NVIDIA_TF32_OVERRIDE=0: the provider would multiply in TF32, whose rounding is 2^13 times as coarse, and the Node binding has no option
 * to disable it. Equal scores are ordered by gallery row, or by `places`. Blocks the event loop while a product runs.
 */
export async function findNeighbours(options: FindNeighboursOptions): Promise<Neighbours> {
  const { queries, gallery, topK, blockRows, threads, device = 'cpu', places, signal, onProgress } = options;
  const { dim } = gallery;
  if (queries.dim !== dim || queries.values.length % dim !== 0) {
    throw new CairnError(
      'model_mismatch',
      `Queries of ${queries.dim} values cannot be compared with a gallery of ${dim}. Extract both with one model.`,
    );
  }
  const queryCount = queries.values.length / dim;
  const searched = places === undefined ? gallery.rows : places.reduce((sum, place) => sum + (place >= 0 ? 1 : 0), 0);
  const k = Math.min(topK, searched);
  const lists = Array.from({ length: queryCount }, () => createTopList(k));
  if (queryCount > 0 && k > 0) {
    const scorer = options.scorer ?? (await createScorer({ device, threads }));
    try {
      const queryRows = Math.max(1, Math.floor(MAX_SCORES / Math.min(blockRows, gallery.rows)));
      for (let firstRow = 0; firstRow < gallery.rows; firstRow += blockRows) {
        const block = await gallery.read(firstRow, blockRows);
        for (let firstQuery = 0; firstQuery < queryCount; firstQuery += queryRows) {
          signal?.throwIfAborted();
          const some = queries.values.subarray(firstQuery * dim, (firstQuery + queryRows) * dim);
          const best = await scorer.best(some, block, dim, candidateCount(k));
          for (let query = 0; query < some.length / dim; query++) {
            const vector = some.subarray(query * dim, (query + 1) * dim);
            merge({ list: lists[firstQuery + query] as TopList, vector, block, firstRow, places, ...candidatesOf(best, query) });
          }
        }
        onProgress?.({ rows: Math.min(gallery.rows, firstRow + blockRows), total: gallery.rows });
      }
    } finally {
      if (options.scorer === undefined) await scorer.close();
    }
  }
  return neighboursOf(lists, k);
}

/** A few more than requested, to include rows that float32 orders wrongly around the last rank. */
function candidateCount(k: number): number {
  return k + 32 + Math.ceil(k / 8);
}

function candidatesOf({ count, values, rows }: Best, query: number): { values: Float32Array; rows: BigInt64Array } {
  return { values: values.subarray(query * count, (query + 1) * count), rows: rows.subarray(query * count, (query + 1) * count) };
}

type MergeOptions = {
  list: TopList;
  vector: Float32Array;
  block: Float32Array;
  firstRow: number;
  places: Int32Array | undefined;
  /** The block's best rows by float32 score, the best first. */
  values: Float32Array;
  rows: BigInt64Array;
};

function merge({ list, vector, block, firstRow, places, values, rows }: MergeOptions): void {
  const dim = vector.length;
  // Bounds the rounding error of a float32 inner product of vectors of at most unit length.
  const tolerance = dim * 2 ** -23;
  const score = (row: number) => {
    const place = places === undefined ? firstRow + row : (places[firstRow + row] as number);
    if (place >= 0) list.add(innerProduct(vector, block, row * dim), place);
  };
  for (let index = 0; index < values.length; index++) {
    if ((values[index] as number) < list.least() - tolerance) return;
    score(Number(rows[index]));
  }
  // If all candidates may belong to the result, other rows may too (many equal rows). Then every row is scored.
  if (values.length * dim === block.length) return;
  const done = new Set(rows);
  for (let row = 0; row < block.length / dim; row++) if (!done.has(BigInt(row))) score(row);
}

/** In float64: exact for vectors of float16. */
export function innerProduct(vector: Float32Array, block: Float32Array, offset: number): number {
  let sum = 0;
  for (let index = 0; index < vector.length; index++) sum += (vector[index] as number) * (block[offset + index] as number);
  return sum;
}

/** The neighbours of full lists, one per query. */
export function neighboursOf(lists: readonly TopList[], k: number): Neighbours {
  const rows = new Int32Array(lists.length * k);
  const scores = new Float64Array(lists.length * k);
  lists.forEach((list, query) => {
    rows.set(list.rows, query * k);
    scores.set(list.scores, query * k);
  });
  return { k, rows, scores };
}
