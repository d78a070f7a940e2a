import { join } from 'node:path';
import { CairnError } from '@cairn/contract';
import { type InferenceSession, Tensor } from 'onnxruntime-node';
import { createSession, type Device } from '../onnx/create-session.ts';
import { type Candidates, innerProduct, type Rows } from './candidates.ts';

/** Finds the rows of blocks that may be among the best of queries. */
export type Scorer = {
  /** Whether blocks may be the bits of float16. */
  takesHalf: boolean;
  /** Adds the rows of the candidates' block (B x dim) that reach the thresholds of the queries (Q x dim). */
  scan(queries: Float32Array<ArrayBuffer>, block: Rows, dim: number, candidates: Candidates, signal?: AbortSignal): Promise<void>;
  close(): Promise<void>;
};

/** Opens the matrix products of exact search. Vectors of any length go through the same session. */
export function createScorer({ device, threads }: { device: Device; threads: number }): Promise<Scorer> {
  return device === 'cpu' ? createTiledScorer(threads) : createTopScorer(device, threads);
}

/** Rows of a tile, of which the graph gives the highest score (make_graphs.py has the same number). */
const TILE = 64;
/** Rows and queries of one product: its scores, 8 MB, stay in the processor's cache until they have been looked at. */
const PRODUCT_ROWS = 1024;
const PRODUCT_QUERIES = 2048;

/**
 * On a CPU looking for the best costs as much as multiplying, so it looks only at tiles whose highest score reaches the threshold. Float16
 * is widened by the graph.
 */
async function createTiledScorer(threads: number): Promise<Scorer> {
  const open = async (name: string, block: Rows): Promise<InferenceSession> => {
    const model = join(import.meta.dirname, name);
    const prove = (session: InferenceSession) =>
      multiply(session, new Float32Array(4), block, 4, { scores: new Float32Array(TILE), most: new Float32Array(1) });
    return (await createSession({ model, what: 'the search graph', device: 'cpu', threads, prove })).session;
  };
  const sessions: { half?: InferenceSession; float?: InferenceSession } = {};
  async function sessionFor(block: Rows): Promise<InferenceSession> {
    if (block instanceof Uint16Array) {
      sessions.half ??= await open('tiles-half.onnx', new Uint16Array(4 * TILE));
      return sessions.half;
    }
    sessions.float ??= await open('tiles.onnx', new Float32Array(4 * TILE));
    return sessions.float;
  }
  const found: Found = {
    scores: new Float32Array(PRODUCT_QUERIES * PRODUCT_ROWS),
    most: new Float32Array((PRODUCT_QUERIES * PRODUCT_ROWS) / TILE),
  };

  return {
    takesHalf: true,
    async scan(queries, block, dim, candidates, signal) {
      const session = await sessionFor(block);
      for (let firstQuery = 0; firstQuery * dim < queries.length; firstQuery += PRODUCT_QUERIES) {
        const some = queries.subarray(firstQuery * dim, (firstQuery + PRODUCT_QUERIES) * dim);
        for (let firstRow = 0; firstRow * dim < block.length; firstRow += PRODUCT_ROWS) {
          signal?.throwIfAborted();
          const rows = block.subarray(firstRow * dim, (firstRow + PRODUCT_ROWS) * dim);
          await multiply(session, some, wholeTiles(rows, dim), dim, found);
          collect({ ...found, queries: some.length / dim, rows: rows.length / dim, firstQuery, firstRow, candidates });
        }
      }
    },
    async close() {
      await sessions.half?.release();
      await sessions.float?.release();
    },
  };
}

/** The scores of queries and rows, and the highest of each query and tile. The memory serves every product. */
type Found = { scores: Float32Array; most: Float32Array };

async function multiply(session: InferenceSession, queries: Float32Array, block: Rows, dim: number, found: Found): Promise<void> {
  const [q, b] = [queries.length / dim, block.length / dim];
  const matrix = (values: Float32Array, columns: number) => new Tensor('float32', values.subarray(0, q * columns), [q, columns]);
  await session.run(
    {
      queries: matrix(queries, dim),
      block: block instanceof Uint16Array ? new Tensor('uint16', block, [b, dim]) : new Tensor('float32', block, [b, dim]),
    },
    { scores: matrix(found.scores, b), most: matrix(found.most, b / TILE) },
  );
}

/** Vectors of zeros fill the last tile. */
function wholeTiles(rows: Rows, dim: number): Rows {
  const length = Math.ceil(rows.length / dim / TILE) * TILE * dim;
  if (length === rows.length) return rows;
  const whole = rows instanceof Uint16Array ? new Uint16Array(length) : new Float32Array(length);
  whole.set(rows);
  return whole;
}

type Collected = Found & {
  queries: number;
  /** Rows without those that fill the last tile. */
  rows: number;
  firstQuery: number;
  firstRow: number;
  candidates: Candidates;
};

function collect({ scores, most, queries, rows, firstQuery, firstRow, candidates }: Collected): void {
  const { thresholds } = candidates;
  const tiles = Math.ceil(rows / TILE);
  const width = tiles * TILE;
  for (let query = 0; query < queries; query++) {
    let threshold = thresholds[firstQuery + query] as number;
    for (let tile = 0; tile < tiles; tile++) {
      // The highest of values that are not all numbers may be no number: such a tile is looked at.
      if ((most[query * tiles + tile] as number) < threshold) continue;
      const end = Math.min(rows, (tile + 1) * TILE);
      for (let row = tile * TILE; row < end; row++) {
        const score = scores[query * width + row] as number;
        if (!(score >= threshold)) continue;
        candidates.add(firstQuery + query, firstRow + row, score);
        threshold = thresholds[firstQuery + query] as number;
      }
    }
  }
}

/** Maximum number of scores of one product on a GPU: 2^26 float32 are 256 MB. */
const MAX_SCORES = 1 << 26;

/** On a GPU the graph also selects, so that only the best of each block are copied back. */
export async function createTopScorer(device: Device, threads: number): Promise<Scorer> {
  async function best(session: InferenceSession, queries: Float32Array, block: Float32Array, dim: number, wanted: number) {
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
    model: join(import.meta.dirname, 'search.onnx'),
    what: 'the search graph',
    device,
    threads,
    prove: (opened) => best(opened, new Float32Array(4), new Float32Array(8), 4, 1),
  });

  return {
    takesHalf: false,
    async scan(queries, block, dim, candidates, signal) {
      if (block instanceof Uint16Array) throw new CairnError('internal', 'The search graph takes float32');
      const { k, thresholds } = candidates;
      const queryRows = Math.max(1, Math.floor((MAX_SCORES * dim) / block.length));
      for (let first = 0; first * dim < queries.length; first += queryRows) {
        signal?.throwIfAborted();
        const some = queries.subarray(first * dim, (first + queryRows) * dim);
        // A few more than requested, to include rows that float32 orders wrongly around the last rank.
        const { count, values, rows } = await best(session, some, block, dim, k + 32 + Math.ceil(k / 8));
        for (let query = 0; query < some.length / dim; query++) {
          const [from, to] = [query * count, (query + 1) * count];
          const isBelow = (at: number): boolean => (values[at] as number) < (thresholds[first + query] as number);
          const lowest = values[to - 1] as number;
          for (let at = from; at < to && !isBelow(at); at++) candidates.add(first + query, Number(rows[at]), values[at] as number);
          // If all of them may belong to the result, other rows may too (many equal rows). Then every row is scored.
          if (count * dim === block.length || lowest < (thresholds[first + query] as number)) continue;
          const done = new Set(rows.subarray(from, to));
          for (let row = 0; row * dim < block.length; row++) {
            if (!done.has(BigInt(row))) {
              candidates.add(first + query, row, innerProduct(some.subarray(query * dim, (query + 1) * dim), block, row * dim));
            }
          }
        }
      }
    },
    close: () => session.release(),
  };
}
