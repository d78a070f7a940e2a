import { CairnError } from '@cairn/contract';
import { type InferenceSession, Tensor } from 'onnxruntime-node';
import { createSession, type Device } from '../onnx/create-session.ts';
import { searchGraph } from './search-graph.ts';
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
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: { rows: number; total: number }) => void) | undefined;
};

/** Per query `k` = min(topK, gallery rows) neighbours, the best first: queries x k rows of the gallery and their scores. */
export type Neighbours = { k: number; rows: Int32Array; scores: Float64Array };

/** Most scores that one matrix product may give: 2^26 float32 are 256 MB. */
const MAX_SCORES = 1 << 26;

/**
 * The exact nearest neighbours by inner product, which is the cosine for vectors of unit length. ONNX Runtime multiplies in
 * float32, block by block, and gives each block's best; those that may belong to the result are scored again in float64.
 * Features of float16 have exact float64 inner products, so neither `blockRows` nor threads nor the device change a single bit.
 * On `cuda` that holds where the process was started with NVIDIA_TF32_OVERRIDE=0: the provider would multiply in TF32, whose rounding is
 * 2^13 times as coarse, and the Node binding has no option against it.
 * Equal scores are ordered by gallery row. Blocks the event loop while a product runs.
 */
export async function findNeighbours(options: FindNeighboursOptions): Promise<Neighbours> {
  const { queries, gallery, topK, blockRows, threads, device = 'cpu', signal, onProgress } = options;
  const { dim } = gallery;
  if (queries.dim !== dim || queries.values.length % dim !== 0) {
    throw new CairnError(
      'model_mismatch',
      `Queries of ${queries.dim} values cannot be compared with a gallery of ${dim}. Extract both with one model.`,
    );
  }
  const queryCount = queries.values.length / dim;
  const k = Math.min(topK, gallery.rows);
  const lists = Array.from({ length: queryCount }, () => createTopList(k));
  if (queryCount > 0 && k > 0) {
    const scorer = await createScorer({ dim, device, threads });
    try {
      const queryRows = Math.max(1, Math.floor(MAX_SCORES / Math.min(blockRows, gallery.rows)));
      for (let firstRow = 0; firstRow < gallery.rows; firstRow += blockRows) {
        const block = await gallery.read(firstRow, blockRows);
        for (let firstQuery = 0; firstQuery < queryCount; firstQuery += queryRows) {
          signal?.throwIfAborted();
          const some = queries.values.subarray(firstQuery * dim, (firstQuery + queryRows) * dim);
          const best = await scorer.best(some, block, candidateCount(k));
          for (let query = 0; query < some.length / dim; query++) {
            const vector = some.subarray(query * dim, (query + 1) * dim);
            merge({ list: lists[firstQuery + query] as TopList, vector, block, firstRow, ...candidatesOf(best, query) });
          }
        }
        onProgress?.({ rows: Math.min(gallery.rows, firstRow + blockRows), total: gallery.rows });
      }
    } finally {
      await scorer.close();
    }
  }
  return gather(lists, k);
}

/** A few more than wanted, so that what float32 puts in the wrong order around the last place is among them. */
function candidateCount(k: number): number {
  return k + 32 + Math.ceil(k / 8);
}

type Best = { count: number; values: Float32Array; rows: BigInt64Array };

function candidatesOf({ count, values, rows }: Best, query: number): { values: Float32Array; rows: BigInt64Array } {
  return { values: values.subarray(query * count, (query + 1) * count), rows: rows.subarray(query * count, (query + 1) * count) };
}

type MergeOptions = {
  list: TopList;
  vector: Float32Array;
  block: Float32Array;
  firstRow: number;
  /** The block's best rows by float32 score, the best first. */
  values: Float32Array;
  rows: BigInt64Array;
};

function merge({ list, vector, block, firstRow, values, rows }: MergeOptions): void {
  const dim = vector.length;
  // Bounds the rounding error of a float32 inner product of vectors of at most unit length.
  const tolerance = dim * 2 ** -23;
  const score = (row: number) => list.add(innerProduct(vector, block, row * dim), firstRow + row);
  for (let index = 0; index < values.length; index++) {
    if ((values[index] as number) < list.least() - tolerance) return;
    score(Number(rows[index]));
  }
  // All candidates may belong to the result, so rows that are none may too: many rows alike. Then every row is scored.
  if (values.length * dim === block.length) return;
  const done = new Set(rows);
  for (let row = 0; row < block.length / dim; row++) if (!done.has(BigInt(row))) score(row);
}

function innerProduct(vector: Float32Array, block: Float32Array, offset: number): number {
  let sum = 0;
  for (let index = 0; index < vector.length; index++) sum += (vector[index] as number) * (block[offset + index] as number);
  return sum;
}

function gather(lists: readonly TopList[], k: number): Neighbours {
  const rows = new Int32Array(lists.length * k);
  const scores = new Float64Array(lists.length * k);
  lists.forEach((list, query) => {
    rows.set(list.rows, query * k);
    scores.set(list.scores, query * k);
  });
  return { k, rows, scores };
}

async function createScorer({ dim, device, threads }: { dim: number; device: Device; threads: number }) {
  async function run(
    session: InferenceSession,
    queries: Float32Array<ArrayBuffer>,
    block: Float32Array<ArrayBuffer>,
    wanted: number,
  ): Promise<Best> {
    const count = Math.min(wanted, block.length / dim);
    const { values, rows } = await session.run({
      queries: new Tensor('float32', queries, [queries.length / dim, dim]),
      block: new Tensor('float32', block, [block.length / dim, dim]),
      count: new Tensor('int64', BigInt64Array.of(BigInt(count)), [1]),
    });
    if (!(values?.data instanceof Float32Array) || !(rows?.data instanceof BigInt64Array)) {
      throw new CairnError('internal', 'The search graph gave neither float32 scores nor int64 rows');
    }
    return { count, values: values.data, rows: rows.data };
  }

  const { session } = await createSession({
    model: searchGraph(),
    what: 'the search graph',
    device,
    threads,
    prove: (opened) => run(opened, new Float32Array(dim), new Float32Array(2 * dim), 1),
  });
  return {
    best: (queries: Float32Array<ArrayBuffer>, block: Float32Array<ArrayBuffer>, wanted: number) => run(session, queries, block, wanted),
    close: () => session.release(),
  };
}
