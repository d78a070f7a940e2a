import { type GroundTruth, indexPredictions, type Predictions } from './mean-average-precision.ts';

/** The ranks for CMC, precision and recall. */
export const metricRanks = [1, 5, 10, 20, 100] as const;
export type AtRanks = Record<`${(typeof metricRanks)[number]}`, number>;

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
  for (const [queryId, { usage, imageIds }] of groundTruth) {
    const relevant = new Set(imageIds.filter((imageId) => imageId !== queryId));
    if (usage === 'Ignored' || relevant.size === 0) continue;
    queries += 1;
    const ranked = lastRanks((byQuery.get(queryId) ?? []).slice(0, atK)).filter((imageId) => imageId !== queryId);
    const hitRanks = ranked.flatMap((imageId, index) => (relevant.has(imageId) ? [index + 1] : []));
    sums.averagePrecision += hitRanks.reduce((sum, rank, index) => sum + (index + 1) / rank, 0) / relevant.size;
    for (const k of metricRanks) {
      const hits = hitRanks.filter((rank) => rank <= k).length;
      sums.cmc[k] += hits > 0 ? 1 : 0;
      sums.precision[k] += hits / k;
      sums.precisionReference[k] += referencePrecision(hitRanks, { k, predicted: ranked.length, relevant: relevant.size });
      sums.recall[k] += hits / relevant.size;
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
