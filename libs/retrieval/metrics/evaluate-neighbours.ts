import { join } from 'node:path';
import type { BootstrapSettings } from '@cairn/contract';
import type { Parquet } from '../parquet/open-parquet.ts';
import { type BothMaps, type ByContinent, bothMaps, scorePredictions } from '../scores/score-predictions.ts';
import { writeScores } from '../scores/scores-file.ts';
import { readNeighbours } from '../search/neighbours-file.ts';
import { type AtRanks, readGroundTruth, readQueryList } from './mean-average-precision.ts';
import { writeSubmission } from './write-submission.ts';

export type EvaluateNeighboursOptions = {
  parquet: Parquet;
  /** `neighbours.parquet`, `ground_truth.parquet` and the list of queries. */
  neighbours: string;
  groundTruth: string;
  queryList: string;
  /** Cut-off of an additional mAP, if it is not 100. */
  atK: number;
  /** The folder that gets `metrics.json`, `per_query.parquet` and `submission.csv`. */
  out: string;
  signal?: AbortSignal | undefined;
};

/** The content of `metrics.json`. All values are shares from 0 to 1, null if no query could be scored. */
export type EvaluationMetrics = {
  mapAt100: BothMaps;
  byContinent?: ByContinent;
  /** How the intervals were computed. */
  bootstrap: BootstrapSettings;
  /** The same at the requested cut-off; omitted if it is 100. */
  mapAtK?: BothMaps & { k: number };
  /** At 1, 5, 10, 20 and 100, over all scored queries. */
  cmc: AtRanks | null;
  /** Hits among the first k, divided by k. */
  precision: AtRanks | null;
  /** As the reference's eval_cbir.py prints it: at 5, 10 and 20 it stops at the last ground truth, and a list shorter than k counts 0. */
  precisionReference: AtRanks | null;
  recall: AtRanks | null;
  /** `withoutNeighbours`: in the list, but not searched (an unreadable query image); they score 0. */
  queries: { list: number; public: number; private: number; ignored: number; withoutNeighbours: number };
  galleryDigest: string;
  galleryRows: number;
  /** Of the scored queries with their ground truths. */
  groundTruthDigest: string;
  topK: number;
};

/**
 * Scores a search and writes `metrics.json`, `per_query.parquet` and `submission.csv`. Throws `corrupt_artifact` if the files are inconsistent, `bad_row` for
 * invalid ids, `storage_full`.
 */
export async function evaluateNeighbours(options: EvaluateNeighboursOptions): Promise<EvaluationMetrics> {
  const { parquet, atK, out, signal } = options;
  const queries = await readQueryList(parquet, options.queryList, signal);
  const queryIds = [...queries.keys()];
  const groundTruth = await readGroundTruth(parquet, { path: options.groundTruth, queries }, signal);
  const { gallery, topK, neighbours } = await readNeighbours(parquet, options.neighbours, signal);
  const predictions = new Map([...neighbours].map(([queryId, { imageIds }]) => [queryId, imageIds]));

  const { metrics: scored, perQuery } = await scorePredictions(predictions, groundTruth, signal);
  const usages = [...groundTruth.values()].map(({ usage }) => usage);
  const { mapAt100, byContinent, bootstrap, cmc, precision, precisionReference, recall, groundTruthDigest } = scored;
  const metrics: EvaluationMetrics = {
    mapAt100,
    ...(byContinent === undefined ? {} : { byContinent }),
    ...(atK === 100 ? {} : { mapAtK: { k: atK, ...(await bothMaps(predictions, groundTruth, atK, signal)) } }),
    bootstrap,
    cmc,
    precision,
    precisionReference,
    recall,
    queries: {
      list: queryIds.length,
      public: usages.filter((usage) => usage === 'Public').length,
      private: usages.filter((usage) => usage === 'Private').length,
      ignored: usages.filter((usage) => usage === 'Ignored').length,
      withoutNeighbours: queryIds.filter((queryId) => !neighbours.has(queryId)).length,
    },
    galleryDigest: gallery.digest,
    galleryRows: gallery.rows,
    groundTruthDigest,
    topK,
  };
  await writeSubmission({ path: join(out, 'submission.csv'), queryIds, neighbours: predictions });
  await writeScores(parquet, { out, metrics, scores: { queries: perQuery, gallery, groundTruthDigest } }, signal);
  return metrics;
}
