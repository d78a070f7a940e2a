import { createHash } from 'node:crypto';
import {
  type BootstrapSettings,
  type Continent,
  type ContinentScore,
  continents,
  type MapIntervals,
  type QueryScore,
} from '@cairn/contract';
import {
  type CbirMetrics,
  evalCbir,
  type GroundTruth,
  hitsAtRanks,
  indexPredictions,
  type MeanAveragePrecision,
  meanAveragePrecision,
  type Predictions,
  type Truth,
} from '../metrics/mean-average-precision.ts';
import { bootstrapOf, intervalOf, intervalsOf, type ScoredQuery } from './bootstrap.ts';

/** Both definitions of mAP at one cut-off, 0 to 1, and their 95 % intervals. */
export type BothMaps = { kaggle: MeanAveragePrecision; reference: number | null; intervals: MapIntervals };

/** The scores of each continent that has queries. */
export type ByContinent = Partial<Record<Continent, ContinentScore>>;

/** Scores by both definitions, from 0 to 1; null if no query could be scored. */
export type ScoreMetrics = Pick<CbirMetrics, 'cmc' | 'precision' | 'precisionReference' | 'recall'> & {
  mapAt100: BothMaps;
  /** Absent where no query has a continent, as those of a solution file. */
  byContinent?: ByContinent;
  /** How the intervals were computed. */
  bootstrap: BootstrapSettings;
  byUsage: { public: CbirMetrics; private: CbirMetrics };
  queries: { public: number; private: number; ignored: number; withoutPredictions: number };
  groundTruthDigest: string;
};

/** `perQuery`: of the queries that are not Ignored, sorted by id. */
export type ScoredPredictions = { metrics: ScoreMetrics; perQuery: QueryScore[] };

/**
 * Scores predictions by both definitions. A scored query that is not predicted scores 0. Throws `bad_row` for a prediction of an unknown query or a
 * second one of the same.
 */
export async function scorePredictions(
  predictions: Predictions,
  groundTruth: GroundTruth,
  signal?: AbortSignal,
): Promise<ScoredPredictions> {
  const byQuery = indexPredictions(predictions, groundTruth);
  const perQuery = scoredTruths(groundTruth).map(([queryId, truth]) => scoreOf(queryId, truth, byQuery.get(queryId) ?? []));
  const of = (usage: Truth['usage']): GroundTruth => new Map([...groundTruth].filter(([, truth]) => truth.usage === usage));
  const scoreApart = (usage: Truth['usage']): CbirMetrics => {
    const part = of(usage);
    return evalCbir(
      [...byQuery].filter(([queryId]) => part.has(queryId)),
      part,
    );
  };
  const { meanAveragePrecision: _, queries: __, ...others } = evalCbir(byQuery, groundTruth);
  return {
    perQuery,
    metrics: {
      mapAt100: await bothMaps(byQuery, groundTruth, 100, signal),
      ...(perQuery.some(({ continent }) => continent !== null) ? { byContinent: await scoresByContinent(perQuery, signal) } : {}),
      bootstrap: bootstrapOf(perQuery.length),
      ...others,
      byUsage: { public: scoreApart('Public'), private: scoreApart('Private') },
      queries: {
        public: of('Public').size,
        private: of('Private').size,
        ignored: of('Ignored').size,
        withoutPredictions: perQuery.filter(({ queryId }) => !byQuery.has(queryId)).length,
      },
      groundTruthDigest: digestOf(groundTruth),
    },
  };
}

async function scoresByContinent(perQuery: readonly QueryScore[], signal?: AbortSignal): Promise<ByContinent> {
  const found: ByContinent = {};
  for (const continent of continents) {
    const scores = perQuery.filter((query) => query.continent === continent);
    if (scores.length === 0) continue;
    const kaggle = scores.map(({ averagePrecision }) => averagePrecision);
    const reference = scores.flatMap(({ averagePrecisionReference }) => averagePrecisionReference ?? []);
    found[continent] = {
      queries: scores.length,
      kaggle: meanOf(kaggle) ?? 0,
      reference: meanOf(reference),
      interval: await intervalOf(Float64Array.from(kaggle), bootstrapOf(scores.length), signal),
    };
  }
  return found;
}

function meanOf(values: readonly number[]): number | null {
  return values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Both definitions of mAP at a cut-off, with their intervals. Throws as {@link scorePredictions}. */
export async function bothMaps(predictions: Predictions, groundTruth: GroundTruth, atK: number, signal?: AbortSignal): Promise<BothMaps> {
  const byQuery = indexPredictions(predictions, groundTruth);
  const queries = scoredTruths(groundTruth).map(([queryId, truth]): ScoredQuery => {
    const [prediction, alone] = [[[queryId, byQuery.get(queryId) ?? []]] as const, new Map([[queryId, truth]])];
    return {
      usage: truth.usage,
      kaggle: meanAveragePrecision(prediction, alone, atK).all ?? 0,
      reference: evalCbir(prediction, alone, atK).meanAveragePrecision,
    };
  });
  return {
    kaggle: meanAveragePrecision(byQuery, groundTruth, atK),
    reference: evalCbir(byQuery, groundTruth, atK).meanAveragePrecision,
    intervals: await intervalsOf(queries, bootstrapOf(queries.length), signal),
  };
}

type ScoredTruth = Truth & { usage: QueryScore['usage'] };

/** The queries that are not Ignored, sorted by id, so that no draw depends on the order of rows. */
function scoredTruths(groundTruth: GroundTruth): [string, ScoredTruth][] {
  return [...groundTruth]
    .flatMap(([queryId, truth]): [string, ScoredTruth][] =>
      truth.usage === 'Ignored' ? [] : [[queryId, { ...truth, usage: truth.usage }]],
    )
    .sort(([a], [b]) => (a < b ? -1 : 1));
}

/** SHA-256 of the scored queries with usage and ground truths, sorted: two results with the same digest can be compared query by query. */
function digestOf(groundTruth: GroundTruth): string {
  const hash = createHash('sha256');
  for (const [queryId, { usage, imageIds }] of scoredTruths(groundTruth))
    hash.update(`${[queryId, usage, ...[...new Set(imageIds)].sort()].join(' ')}\n`);
  return hash.digest('hex');
}

function scoreOf(queryId: string, truth: ScoredTruth, predicted: readonly string[]): QueryScore {
  const imageIds = predicted.slice(0, 100);
  const [prediction, alone] = [[[queryId, imageIds]] as const, new Map([[queryId, truth]])];
  const relevant = new Set(truth.imageIds);
  const firstHit = imageIds.findIndex((imageId) => relevant.has(imageId));
  const firstWrong = imageIds.findIndex((imageId) => !relevant.has(imageId));
  return {
    queryId,
    usage: truth.usage,
    continent: truth.continent ?? null,
    averagePrecision: meanAveragePrecision(prediction, alone).all ?? 0,
    averagePrecisionReference: evalCbir(prediction, alone).meanAveragePrecision,
    groundTruths: relevant.size,
    hits: new Set(imageIds.filter((imageId) => relevant.has(imageId))).size,
    firstHit: firstHit === -1 ? null : firstHit + 1,
    firstWrong: firstWrong === -1 ? null : { rank: firstWrong + 1, imageId: imageIds[firstWrong] ?? '' },
    hitsAt: hitsAtRanks(queryId, truth, imageIds),
  };
}
