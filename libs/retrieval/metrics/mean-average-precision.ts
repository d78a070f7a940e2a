import { CairnError, type Continent, continent, type MetricRank, metricRanks, type QueryScore } from '@cairn/contract';
import { columnNames, type Parquet } from '../parquet/open-parquet.ts';

/** Means over the scored queries of each usage, 0 to 1; null where there is no such query. */
export type MeanAveragePrecision = { public: number | null; private: number | null; all: number | null };

/**
 * Kaggle's mAP@k of the Google Landmark Retrieval challenges:
 *
 *     mAP@k = 1/Q sum_q [ 1/min(m_q, k) sum_{i=1..min(n_q, k)} P_q(i) rel_q(i) ]
 *
 * Q: all queries that are not Ignored, predicted or not (a missing one scores 0); m_q: ground truths; n_q: predictions; rel_q(i): 1 if the
 * i-th prediction is a ground truth not predicted earlier; P_q(i): distinct hits so far / i. A repeated prediction thus scores nothing, but
 * occupies its rank. Ignored queries are skipped, predicted or not. Definition: tensorflow/models,
 * research/delf/delf/python/datasets/google_landmarks_dataset/metrics.py, MeanAveragePrecision.
 *
 * Throws `bad_row` for a prediction of an unknown query or a second one of the same, and for a scored query without ground truth.
 */
export function meanAveragePrecision(predictions: Predictions, groundTruth: GroundTruth, atK = 100): MeanAveragePrecision {
  const byQuery = indexPredictions(predictions, groundTruth);
  const sums = { Public: 0, Private: 0 };
  const counts = { Public: 0, Private: 0 };
  for (const [queryId, truth] of groundTruth) {
    if (truth.usage === 'Ignored') continue;
    if (truth.imageIds.length === 0) throw new CairnError('bad_row', `The query ${queryId} is ${truth.usage}, but has no ground truth.`);
    sums[truth.usage] += averagePrecision(byQuery.get(queryId) ?? [], truth, atK);
    counts[truth.usage] += 1;
  }
  const mean = (sum: number, count: number) => (count === 0 ? null : sum / count);
  return {
    public: mean(sums.Public, counts.Public),
    private: mean(sums.Private, counts.Private),
    all: mean(sums.Public + sums.Private, counts.Public + counts.Private),
  };
}

function averagePrecision(predicted: readonly string[], { imageIds }: Truth, atK: number): number {
  const relevant = new Set(imageIds);
  const seen = new Set<string>();
  let hits = 0;
  let sum = 0;
  for (const [index, imageId] of predicted.slice(0, atK).entries()) {
    if (relevant.has(imageId) && !seen.has(imageId)) {
      hits += 1;
      sum += hits / (index + 1);
    }
    seen.add(imageId);
  }
  return sum / Math.min(imageIds.length, atK);
}

/** The usage of a query: Public and Private are scored separately, Ignored is not scored. */
export type Usage = 'Public' | 'Private' | 'Ignored';

export type Truth = {
  usage: Usage;
  /** The ground truths: images of the gallery that show the same landmark. */
  imageIds: readonly string[];
  /** Where its landmark is, if that is known. */
  continent?: Continent | undefined;
};

/** Every query and its ground truths; a prediction for a query that is not in it is an error. */
export type GroundTruth = ReadonlyMap<string, Truth>;

/** Queries and their predicted images, best first. A list of pairs rather than a map: a query that occurs twice is an error. */
export type Predictions = Iterable<readonly [queryId: string, imageIds: readonly string[]]>;

/** The queries of a list in its order, each once, with its continent in the list. Throws `corrupt_artifact`. */
export async function readQueryList(parquet: Parquet, path: string, signal?: AbortSignal): Promise<Map<string, Continent | undefined>> {
  const place = (await columnNames(parquet, path, signal)).has('continent') ? 'continent' : 'null as continent';
  const sql = `select image_id, ${place} from read_parquet($path, file_row_number = true) order by file_row_number`;
  const table = await parquet.query({ path, sql }, signal);
  const places = table.textOrNull('continent');
  const queries = new Map<string, Continent | undefined>();
  table.text('image_id').forEach((queryId, row) => {
    if (!queries.has(queryId)) queries.set(queryId, continent.safeParse(places[row]).data);
  });
  return queries;
}

/**
 * Reads `ground_truth.parquet` (query_id, image_id, usage; a row for each ground truth) for these queries: one without a row is Ignored.
 * Throws `corrupt_artifact` for an invalid usage, a query with two usages, or one that is not in the list.
 */
export async function readGroundTruth(
  parquet: Parquet,
  { path, queries }: { path: string; queries: ReadonlyMap<string, Continent | undefined> },
  signal?: AbortSignal,
): Promise<GroundTruth> {
  const sql = 'select query_id, image_id, usage from read_parquet($path, file_row_number = true) order by file_row_number';
  const table = await parquet.query({ path, sql }, signal);
  const [imageIds, usages] = [table.text('image_id'), table.text('usage')];
  const truths = new Map<string, { usage: Usage; imageIds: string[]; continent: Continent | undefined }>(
    [...queries].map(([queryId, place]) => [queryId, { usage: 'Ignored', imageIds: [], continent: place }]),
  );
  table.text('query_id').forEach((queryId, row) => {
    const usage = usages[row];
    const truth = truths.get(queryId);
    const corrupt = (what: string) => new CairnError('corrupt_artifact', `${path}: row ${row + 1}: ${what}. Prepare the dataset again.`);
    if (usage !== 'Public' && usage !== 'Private') throw corrupt(`the usage ${usage} is neither Public nor Private`);
    if (truth === undefined) throw corrupt(`the query ${queryId} is not in the list of queries`);
    if (truth.imageIds.length > 0 && truth.usage !== usage) throw corrupt(`the query ${queryId} is ${usage} here, ${truth.usage} before`);
    truth.usage = usage;
    truth.imageIds.push(imageIds[row] ?? '');
  });
  return truths;
}

/** The predictions by query. Throws `bad_row` for a query that is not in the ground truth or occurs twice. */
export function indexPredictions(predictions: Predictions, groundTruth: GroundTruth): ReadonlyMap<string, readonly string[]> {
  const byQuery = new Map<string, readonly string[]>();
  for (const [queryId, imageIds] of predictions) {
    if (!groundTruth.has(queryId)) throw new CairnError('bad_row', `The query ${queryId} is predicted, but is not in the list of queries.`);
    if (byQuery.has(queryId)) throw new CairnError('bad_row', `The query ${queryId} is predicted twice.`);
    byQuery.set(queryId, imageIds);
  }
  return byQuery;
}

export type AtRanks = Record<MetricRank, number>;

export type CbirMetrics = {
  /** Queries that have a ground truth. */
  queries: number;
  /** Mean average precision, 0 to 1; null without queries, like all other values. */
  meanAveragePrecision: number | null;
  /** Share of queries with a hit among the first k. */
  cmc: AtRanks | null;
  /** Hits among the first k, divided by k. */
  precision: AtRanks | null;
  /** Precision at k as eval_cbir.py prints it: {@link referencePrecision}. */
  precisionReference: AtRanks | null;
  /** Hits among the first k, divided by the number of ground truths. */
  recall: AtRanks | null;
};

/**
 * The evaluation of the 2021 reference solution (its eval_cbir.py, mode `retrieval`): of each query's first `atK` predictions
 * the query itself is dropped, which moves the later ones up, and an image that is predicted twice has its last rank alone; AP is the sum
 * of the precisions at the hits, divided by the number of all ground truths (Kaggle divides by at most k); the mean is over all queries,
 * Public and Private, with a ground truth other than themselves. Precision at k is given in the usual definition too.
 *
 * Throws `bad_row` for a prediction of an unknown query or a second one of the same.
 */
export function evalCbir(predictions: Predictions, groundTruth: GroundTruth, atK = 100): CbirMetrics {
  const byQuery = indexPredictions(predictions, groundTruth);
  const sums = { averagePrecision: 0, cmc: zeros(), precision: zeros(), precisionReference: zeros(), recall: zeros() };
  let queries = 0;
  for (const [queryId, truth] of groundTruth) {
    const { hitRanks, predicted, relevant } = ranksOfHits(queryId, truth, (byQuery.get(queryId) ?? []).slice(0, atK));
    if (truth.usage === 'Ignored' || relevant === 0) continue;
    queries += 1;
    sums.averagePrecision += hitRanks.reduce((sum, rank, index) => sum + (index + 1) / rank, 0) / relevant;
    for (const k of metricRanks) {
      const hits = hitRanks.filter((rank) => rank <= k).length;
      sums.cmc[k] += hits > 0 ? 1 : 0;
      sums.precision[k] += hits / k;
      sums.precisionReference[k] += referencePrecision(hitRanks, { k, predicted, relevant });
      sums.recall[k] += hits / relevant;
    }
  }
  if (queries === 0) return { queries, meanAveragePrecision: null, cmc: null, precision: null, precisionReference: null, recall: null };
  return {
    queries,
    meanAveragePrecision: sums.averagePrecision / queries,
    cmc: divide(sums.cmc, queries),
    precision: divide(sums.precision, queries),
    precisionReference: divide(sums.precisionReference, queries),
    recall: divide(sums.recall, queries),
  };
}

/** The hits of one query at each rank, from which CMC, precision and recall follow; null where it is its only ground truth. */
export function hitsAtRanks(queryId: string, truth: Truth, predicted: readonly string[]): QueryScore['hitsAt'] {
  const { hitRanks, relevant } = ranksOfHits(queryId, truth, predicted);
  const at = (k: number) => hitRanks.filter((rank) => rank <= k).length;
  return relevant === 0 ? null : { 1: at(1), 5: at(5), 10: at(10), 20: at(20), 100: at(100), all: relevant };
}

/** Ranks of the ground truths that were found; how many images remain without the query itself, and how many ground truths. */
function ranksOfHits(queryId: string, { imageIds }: Truth, predictions: readonly string[]) {
  const relevant = new Set(imageIds.filter((imageId) => imageId !== queryId));
  const ranked = lastRanks(predictions).filter((imageId) => imageId !== queryId);
  const hitRanks = ranked.flatMap((imageId, index) => (relevant.has(imageId) ? [index + 1] : []));
  return { hitRanks, predicted: ranked.length, relevant: relevant.size };
}

/** The images in the order of their last ranks: upstream keeps one similarity per image, and a later one replaces an earlier one. */
function lastRanks(imageIds: readonly string[]): string[] {
  return [...new Set(imageIds.toReversed())].reverse();
}

/**
 * Precision at k by eval_cbir.py (`refine_pr`, after delf's ComputePRAtRanks): at 5, 10 and 20 that at the rank of the last ground truth
 * where all of them were found by then; else hits by k, or 0 where fewer than k images were predicted.
 */
function referencePrecision(hitRanks: readonly number[], { k, predicted, relevant }: { k: number; predicted: number; relevant: number }) {
  const complete = hitRanks.length === relevant ? hitRanks.at(-1) : undefined;
  if (complete !== undefined && complete <= k && k !== 1 && k !== 100) return relevant / complete;
  return predicted < k ? 0 : hitRanks.filter((rank) => rank <= k).length / k;
}

function zeros(): AtRanks {
  return { 1: 0, 5: 0, 10: 0, 20: 0, 100: 0 };
}

function divide(sums: AtRanks, by: number): AtRanks {
  return { 1: sums[1] / by, 5: sums[5] / by, 10: sums[10] / by, 20: sums[20] / by, 100: sums[100] / by };
}
