import { CairnError } from '@cairn/contract';
import { type GroundTruth, indexPredictions, type Predictions, type Truth } from './ground-truth.ts';

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
