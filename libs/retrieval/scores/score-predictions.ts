import { type CbirMetrics, evalCbir } from '../metrics/eval-cbir.ts';
import type { EvaluationMetrics } from '../metrics/evaluate-neighbours.ts';
import type { GroundTruth, Predictions, Truth } from '../metrics/ground-truth.ts';
import { indexPredictions } from '../metrics/ground-truth.ts';
import { meanAveragePrecision } from '../metrics/mean-average-precision.ts';

/** The score of one query. Shares are from 0 to 1. */
export type QueryScore = {
  queryId: string;
  usage: 'Public' | 'Private';
  /** Average precision over the first 100, by Kaggle's formula; by eval_cbir's, null where the query is its only ground truth. */
  averagePrecision: number;
  averagePrecisionReference: number | null;
  groundTruths: number;
  /** Ground truths among the first 100, and the rank of the first; null without any. */
  hits: number;
  firstHit: number | null;
};

/** The scores of `metrics.json`, with those of Public and Private apart. */
export type ScoreMetrics = Pick<EvaluationMetrics, 'mapAt100' | 'cmc' | 'precision' | 'precisionReference' | 'recall'> & {
  byUsage: { public: CbirMetrics; private: CbirMetrics };
  queries: { public: number; private: number; ignored: number; withoutPredictions: number };
};

/**
 * Scores predictions by both definitions. A scored query that is not predicted scores 0. Throws `bad_row` for a prediction of an unknown query or a
 * second one of the same.
 */
export function scorePredictions(predictions: Predictions, groundTruth: GroundTruth): { metrics: ScoreMetrics; perQuery: QueryScore[] } {
  const byQuery = indexPredictions(predictions, groundTruth);
  const perQuery: QueryScore[] = [];
  for (const [queryId, truth] of groundTruth) {
    if (truth.usage !== 'Ignored') perQuery.push(scoreOf(queryId, { ...truth, usage: truth.usage }, byQuery.get(queryId) ?? []));
  }
  const of = (usage: Truth['usage']): GroundTruth => new Map([...groundTruth].filter(([, truth]) => truth.usage === usage));
  const scoreApart = (usage: Truth['usage']): CbirMetrics => {
    const part = of(usage);
    return evalCbir(
      [...byQuery].filter(([queryId]) => part.has(queryId)),
      part,
    );
  };
  const { meanAveragePrecision: reference, queries: _queries, ...others } = evalCbir(byQuery, groundTruth);
  return {
    perQuery,
    metrics: {
      mapAt100: { kaggle: meanAveragePrecision(byQuery, groundTruth), reference },
      ...others,
      byUsage: { public: scoreApart('Public'), private: scoreApart('Private') },
      queries: {
        public: of('Public').size,
        private: of('Private').size,
        ignored: of('Ignored').size,
        withoutPredictions: perQuery.filter(({ queryId }) => !byQuery.has(queryId)).length,
      },
    },
  };
}

function scoreOf(queryId: string, truth: Truth & { usage: 'Public' | 'Private' }, imageIds: readonly string[]): QueryScore {
  const [prediction, alone] = [[[queryId, imageIds]] as const, new Map([[queryId, truth]])];
  const relevant = new Set(truth.imageIds);
  const first = imageIds.slice(0, 100).findIndex((imageId) => relevant.has(imageId));
  return {
    queryId,
    usage: truth.usage,
    averagePrecision: meanAveragePrecision(prediction, alone).all ?? 0,
    averagePrecisionReference: evalCbir(prediction, alone).meanAveragePrecision,
    groundTruths: relevant.size,
    hits: new Set(imageIds.slice(0, 100).filter((imageId) => relevant.has(imageId))).size,
    firstHit: first === -1 ? null : first + 1,
  };
}
