import { type BootstrapSettings, CairnError, type Interval } from '@cairn/contract';
import { createIdTable, orderIds, sortIds, type TableIds } from '../features/id-table.ts';
import { type Features, readFeatures } from '../features/read-features.ts';
import type { Parquet } from '../parquet/open-parquet.ts';
import { bootstrapOf, intervalOf } from '../scores/bootstrap.ts';
import { innerProduct } from '../search/candidates.ts';
import { type Gallery, galleryOf } from '../search/neighbours-file.ts';

/** The ground truth of revisited Oxford or Paris: positions in `images`. */
export type RevisitedTruth = {
  images: readonly string[];
  queries: readonly { id: string; easy: readonly number[]; hard: readonly number[]; junk: readonly number[] }[];
};

/** The three setups: which images count as correct, and which are treated as if they were not in the gallery. */
const setups = {
  easy: { correct: ['easy'], ignored: ['junk', 'hard'] },
  medium: { correct: ['easy', 'hard'], ignored: ['junk'] },
  hard: { correct: ['hard'], ignored: ['junk', 'easy'] },
} as const;
export type RevisitedSetup = keyof typeof setups;
const setupNames = Object.keys(setups) as RevisitedSetup[];

const precisionRanks = [1, 5, 10] as const;
type Precisions = Record<`${(typeof precisionRanks)[number]}`, number>;

/** Of one query in one setup, 0 to 1; null where it has no correct image: the means skip it. */
export type RevisitedQuery = { averagePrecision: number; precision: Precisions } | null;

export type RevisitedScore = {
  /** Queries with a correct image, over which the means are. */
  queries: number;
  meanAveragePrecision: number | null;
  interval: Interval;
  /** mP@k. */
  precision: Precisions | null;
};

/** The content of `metrics.json` of `cairn evaluate --revisited`. */
export type RevisitedMetrics = Record<RevisitedSetup, RevisitedScore> & {
  bootstrap: BootstrapSettings;
  gallery: Gallery & {
    /** Images that the ground truth does not list: they count as wrong. */
    distractors: number;
    /** Images of the index that are queries: left out, as in the published galleries. */
    queriesLeftOut: number;
  };
  perQuery: ({ queryId: string } & Record<RevisitedSetup, RevisitedQuery>)[];
};

export type EvaluateRevisitedOptions = {
  parquet: Parquet;
  /** The folders of the feature sets, whose ids are the names in the ground truth. */
  queries: string;
  index: string;
  truth: RevisitedTruth;
  /** Rows to read at a time. */
  blockRows: number;
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: { rows: number; total: number }) => void) | undefined;
};

/**
 * The revisited evaluation (Radenović et al., Revisiting Oxford and Paris, CVPR 2018) of a search of the whole index: mAP and mP@1, 5, 10
 * in the setups easy, medium and hard. Equal similarities are ordered by id. Throws `bad_row` for a feature set without an image that the
 * ground truth lists, `model_mismatch` for vectors of different lengths, `corrupt_artifact`.
 */
export async function evaluateRevisited(options: EvaluateRevisitedOptions): Promise<RevisitedMetrics> {
  const { parquet, truth, blockRows, signal, onProgress } = options;
  const queries = await readFeatures(options.queries, parquet, signal);
  const index = await readFeatures(options.index, parquet, signal);
  const queryIds = truth.queries.map(({ id }) => id);
  const rowOfQuery = rowsOf(queries.ids, queryIds, `The feature set of the queries ${options.queries}`, 'queries');
  const rowOfImage = rowsOf(index.ids, truth.images, `The feature set ${options.index}`, 'images');
  if (queries.dim !== index.dim) {
    const what = `The queries have vectors of ${queries.dim} values, the index of ${index.dim}`;
    throw new CairnError('model_mismatch', what, { details: { remedy: 'Extract both with one model.' } });
  }
  const areQueries = new Set(queryIds);
  const values = await queries.read(0, queries.ids.length);
  const asked = truth.queries.map(({ easy, hard, junk }, at) => {
    const row = rowOfQuery[at] ?? 0;
    const rows = [...new Set([...easy, ...hard, ...junk])].map((position) => rowOfImage[position] ?? 0);
    return { vector: values.subarray(row * queries.dim, (row + 1) * queries.dim), rows };
  });
  const ranks = await rankListed({ index, asked, isLeftOut: (id) => areQueries.has(id), blockRows, signal, onProgress });

  const perQuery = truth.queries.map((query, at): RevisitedMetrics['perQuery'][number] => {
    const rankOf = (position: number): number => ranks[at]?.get(rowOfImage[position] ?? 0) ?? 0;
    const of = (setup: RevisitedSetup): RevisitedQuery => {
      const correct = setups[setup].correct.flatMap((kind) => query[kind]);
      const ignored = setups[setup].ignored.flatMap((kind) => query[kind]);
      return scoreRevisited(correct.map(rankOf), ignored.map(rankOf));
    };
    return { queryId: query.id, easy: of('easy'), medium: of('medium'), hard: of('hard') };
  });
  const bootstrap = bootstrapOf(perQuery.length);
  const [easy, medium, hard] = await Promise.all(
    setupNames.map((setup) =>
      meanOf(
        perQuery.map((query) => query[setup]),
        bootstrap,
        signal,
      ),
    ),
  );
  const searched = createIdTable();
  for (const id of index.ids) if (!areQueries.has(id)) searched.add(id);
  return {
    ...({ easy, medium, hard } as Record<RevisitedSetup, RevisitedScore>),
    bootstrap,
    gallery: {
      ...galleryOf(sortIds(searched)),
      distractors: searched.length - truth.images.filter((id) => !areQueries.has(id)).length,
      queriesLeftOut: index.ids.length - searched.length,
    },
    perQuery,
  };
}

/**
 * One query by the published definition (filipradenovic/revisitop, compute_map). Ranks count from 0 over the whole gallery. A correct image moves
 * up by the ignored ones before it. AP is the area under the precision-recall curve by trapezoids: at each correct image the mean of the
 * precision just before it (1 at the first rank) and at it, times the step in recall. P@k divides by k, or by the rank of the last correct
 * image where that is smaller. Null without a correct image.
 */
export function scoreRevisited(correct: readonly number[], ignored: readonly number[]): RevisitedQuery {
  if (correct.length === 0) return null;
  const passed = [...new Set(ignored)].sort((a, b) => a - b);
  let skipped = 0;
  const ranks = [...new Set(correct)]
    .sort((a, b) => a - b)
    .map((rank) => {
      while (skipped < passed.length && (passed[skipped] as number) < rank) skipped += 1;
      return rank - skipped;
    });
  const averagePrecision = ranks.reduce((sum, rank, hits) => {
    const before = rank === 0 ? 1 : hits / rank;
    const at = (hits + 1) / (rank + 1);
    return sum + (before + at) / 2 / correct.length;
  }, 0);
  const last = (ranks.at(-1) ?? 0) + 1;
  const precisionAt = (k: number): number => {
    const within = Math.min(k, last);
    return ranks.filter((rank) => rank < within).length / within;
  };
  return { averagePrecision, precision: { 1: precisionAt(1), 5: precisionAt(5), 10: precisionAt(10) } };
}

async function meanOf(queries: readonly RevisitedQuery[], bootstrap: BootstrapSettings, signal?: AbortSignal): Promise<RevisitedScore> {
  const scored = queries.filter((query) => query !== null);
  if (scored.length === 0) return { queries: 0, meanAveragePrecision: null, interval: null, precision: null };
  const mean = (of: (query: (typeof scored)[number]) => number): number =>
    scored.reduce((sum, query) => sum + of(query), 0) / scored.length;
  return {
    queries: scored.length,
    meanAveragePrecision: mean((query) => query.averagePrecision),
    interval: await intervalOf(
      Float64Array.from(scored, (query) => query.averagePrecision),
      bootstrap,
      signal,
    ),
    precision: { 1: mean((query) => query.precision[1]), 5: mean((query) => query.precision[5]), 10: mean((query) => query.precision[10]) },
  };
}

/** The row of each name. Throws `bad_row` where one is missing. */
function rowsOf(ids: TableIds, names: readonly string[], what: string, kind: 'images' | 'queries'): number[] {
  const rowOf = orderIds(ids.table, ids.numbers).placeOf;
  const missing = names.filter((name) => ids.table.find(name) === -1);
  if (missing.length > 0) {
    const examples = missing.slice(0, 3).join(', ');
    throw new CairnError(
      'bad_row',
      `${what} lacks ${missing.length} of the ${names.length} ${kind} of the ground truth, such as ${examples}`,
      {
        details: { remedy: 'Extract features of all images that the ground truth lists; the id of each is its name there.' },
      },
    );
  }
  return names.map((name) => rowOf[ids.table.find(name)] ?? 0);
}

export type RankListedOptions = {
  index: Features;
  /** Each query's vector, and the rows of the index whose ranks are wanted. */
  asked: readonly { vector: Float32Array; rows: readonly number[] }[];
  /** Rows that are not searched, by their id. */
  isLeftOut(id: string): boolean;
  blockRows: number;
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: { rows: number; total: number }) => void) | undefined;
};

type Listed = { row: number; id: string; score: number };

/**
 * The ranks, from 0, of a few rows of each query in the search of a whole index, by inner product in float64, equal ones by id: what a full
 * sort would give, without holding more than a block. The result is a map from row to rank for each query.
 */
export async function rankListed(options: RankListedOptions): Promise<ReadonlyMap<number, number>[]> {
  const { index, asked, isLeftOut, blockRows, signal, onProgress } = options;
  const { dim } = index;
  const lists = asked.map(({ rows }) => rows.map((row): Listed => ({ row, id: index.ids.at(row) ?? '', score: 0 })));
  // First the similarities of the listed rows themselves.
  const wanted = [...new Set(asked.flatMap(({ rows }) => rows))].sort((a, b) => a - b);
  for (const row of wanted) {
    const vector = await index.read(row, 1);
    lists.forEach((list, query) => {
      for (const one of list) if (one.row === row) one.score = innerProduct(asked[query]?.vector ?? vector, vector, 0);
    });
  }
  for (const list of lists) list.sort((a, b) => b.score - a.score || (a.id < b.id ? -1 : 1));
  // Then how many rows come just before each of them: every row counts for the first listed one that it precedes.
  const before = lists.map((list) => new Int32Array(list.length + 1));
  for (let first = 0; first < index.ids.length; first += blockRows) {
    const block = await index.read(first, blockRows);
    for (let row = 0; row < block.length / dim; row++) {
      signal?.throwIfAborted();
      const id = index.ids.at(first + row) ?? '';
      if (isLeftOut(id)) continue;
      for (const [query, list] of lists.entries()) {
        const { vector } = asked[query] as (typeof asked)[number];
        const counts = before[query] as Int32Array;
        const place = placeIn(list, innerProduct(vector, block, row * dim), id);
        counts[place] = (counts[place] ?? 0) + 1;
      }
    }
    onProgress?.({ rows: Math.min(index.ids.length, first + blockRows), total: index.ids.length });
  }
  return lists.map((list, query) => {
    let passed = 0;
    // A listed row is found at its own place too, so what was counted there is one more than its rank.
    return new Map(
      list.map(({ row, id }, at) => {
        passed += before[query]?.[at] ?? 0;
        return [row, isLeftOut(id) ? passed : passed - 1];
      }),
    );
  });
}

/** The first listed row that a row with this similarity and id precedes or is; the list's length if it comes after all. */
function placeIn(list: readonly Listed[], score: number, id: string): number {
  let [low, high] = [0, list.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    const one = list[middle] as Listed;
    const isBefore = score > one.score || (score === one.score && id <= one.id);
    if (isBefore) high = middle;
    else low = middle + 1;
  }
  return low;
}
