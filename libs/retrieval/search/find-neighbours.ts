import { CairnError } from '@cairn/contract';
import type { Device } from '../onnx/create-session.ts';
import { createCandidates, type Rows } from './candidates.ts';
import { createScorer, type Scorer } from './create-scorer.ts';
import type { TopList } from './top-list.ts';

/** Vectors of one length, each at most of unit length: rows x dim, dense. */
export type Vectors = { values: Float32Array<ArrayBuffer>; dim: number };

/** Vectors that are read in blocks. */
export type VectorSource = {
  rows: number;
  dim: number;
  read(firstRow: number, count: number): Promise<Float32Array<ArrayBuffer>>;
  /** Fills `into` with rows as the bits of float16, where that is what is stored: half the memory, and nothing to convert. */
  readHalf?: ((firstRow: number, into: Uint16Array<ArrayBuffer>) => Promise<void>) | undefined;
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

/**
 * The exact nearest neighbours by inner product, which is the cosine for vectors of unit length. ONNX Runtime multiplies in float32, block
 * by block; rows that may be among the best are scored again in float64. Features of float16 have exact float64 inner products,
 * so neither `blockRows` nor threads nor the device change a single bit. On `cuda` this requires that the process was started with
 * NVIDIA_TF32_OVERRIDE=0: the provider would multiply in TF32, whose rounding is 2^13 times as coarse, and the Node binding has no option
 * to disable it. Equal scores are ordered by gallery row, or by `places`. Each block is read while the previous one is searched. Blocks the
 * event loop while a product runs. Throws `model_mismatch` where vectors differ in length, `bad_row` for vectors that are not numbers.
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
  const searched = places === undefined ? gallery.rows : places.reduce((sum, place) => sum + (place >= 0 ? 1 : 0), 0);
  const k = Math.min(topK, searched);
  const candidates = createCandidates({ queries: queries.values, dim, k });
  if (candidates.lists.length > 0 && k > 0) {
    const scorer = options.scorer ?? (await createScorer({ device, threads }));
    const read = blockReader(gallery, blockRows, scorer);
    let next: Promise<Rows> | null = read(0);
    try {
      for (let firstRow = 0; next !== null; firstRow += blockRows) {
        const block: Rows = await next;
        const end = Math.min(gallery.rows, firstRow + blockRows);
        next = end < gallery.rows ? read(end) : null;
        candidates.begin(block, firstRow, places);
        await scorer.scan(queries.values, block, dim, candidates, signal);
        candidates.end();
        onProgress?.({ rows: end, total: gallery.rows });
      }
    } finally {
      // What is still being read is not needed after an error.
      await next?.catch(() => undefined);
      if (options.scorer === undefined) await scorer.close();
    }
  }
  return neighboursOf(candidates.lists, k);
}

/** Reads blocks; one is in use while the next is read, and then its memory is used again. */
function blockReader(gallery: VectorSource, blockRows: number, { takesHalf }: Scorer): (firstRow: number) => Promise<Rows> {
  const { readHalf } = gallery;
  if (!takesHalf || readHalf === undefined) return (firstRow) => gallery.read(firstRow, blockRows);
  const length = Math.min(blockRows, gallery.rows) * gallery.dim;
  const memory = Array.from({ length: gallery.rows > blockRows ? 2 : 1 }, () => new Uint16Array(length));
  return async (firstRow) => {
    const block = memory[(firstRow / blockRows) % memory.length];
    if (block === undefined) throw new CairnError('internal', `Row ${firstRow} does not begin a block of ${blockRows}`);
    const rows = block.subarray(0, Math.min(blockRows, gallery.rows - firstRow) * gallery.dim);
    await readHalf(firstRow, rows);
    return rows;
  };
}

/** The neighbours of full lists, one per query. Throws `bad_row` if one is not full: its scores are not numbers. */
export function neighboursOf(lists: readonly TopList[], k: number): Neighbours {
  const rows = new Int32Array(lists.length * k);
  const scores = new Float64Array(lists.length * k);
  lists.forEach((list, query) => {
    if (list.rows.length < k) {
      throw new CairnError('bad_row', `${k - list.rows.length} of ${k} neighbours of query ${query + 1} have scores that are not numbers`, {
        details: { remedy: 'Extract the features again: a vector has values that are not finite.' },
      });
    }
    rows.set(list.rows, query * k);
    scores.set(list.scores, query * k);
  });
  return { k, rows, scores };
}
