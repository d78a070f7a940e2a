import { z } from 'zod';
import { imageId } from './catalogue.ts';
import { evaluationReference, idOf, largestInt4, timestamp, wholeNumber } from './names.ts';
import { continent, scoredUsage } from './query-groups.ts';
import { anyOf, page, pageQuery } from './rest.ts';
import { artifactKind, stepKind } from './states.ts';
import { writtenText } from './text.ts';

// Scores of queries, and comparisons of two evaluations. Averages and shares are from 0 to 1.

/** The score of one query: a row of `per_query.parquet`, the same on the wire. */
export const queryScore = z.object({
  queryId: z.string(),
  usage: scoredUsage,
  /** Of its first ground truth with a known landmark; null without one, and in an evaluation of an earlier release. */
  continent: continent.nullable(),
  /** Average precision of the first 100 by Kaggle's formula. */
  averagePrecision: z.number(),
  /** By eval_cbir's; null where the query is its only ground truth. */
  averagePrecisionReference: z.number().nullable(),
  groundTruths: wholeNumber,
  /** Ground truths among the first 100. */
  hits: wholeNumber,
  /** Rank of the first ground truth, from 1; null if there is none among the first 100. */
  firstHit: wholeNumber.nullable(),
  /** The first image that is not a ground truth, and its rank; null if there is none among the first 100. */
  firstWrong: z.object({ rank: wholeNumber, imageId: z.string() }).nullable(),
  /**
   * What CMC, precision and recall are made of, by eval_cbir, which leaves out the query itself: the ground truths among the first k, and
   * all of them. Null where the query is its only ground truth, and in an evaluation of an earlier release.
   */
  hitsAt: z.object({ 1: wholeNumber, 5: wholeNumber, 10: wholeNumber, 20: wholeNumber, 100: wholeNumber, all: wholeNumber }).nullable(),
});
export type QueryScore = z.infer<typeof queryScore>;

/** Where the given share of the resampled means lies; null where no query could be scored. */
export const interval = z.object({ low: z.number(), high: z.number() }).nullable();
export type Interval = z.infer<typeof interval>;

/** The intervals of a mAP by both definitions. */
export const mapIntervals = z.object({
  kaggle: z.object({ public: interval, private: interval, all: interval }),
  reference: interval,
});
export type MapIntervals = z.infer<typeof mapIntervals>;

/** The mAP@100 of the queries of one continent, by both definitions; the interval is that of Kaggle's. */
export const continentScore = z.object({ queries: wholeNumber, kaggle: z.number(), reference: z.number().nullable(), interval });
export type ContinentScore = z.infer<typeof continentScore>;

/** How intervals were computed: queries are drawn with replacement `samples` times. The same seed gives the same interval. */
export const bootstrapSettings = z.object({
  method: z.literal('percentile bootstrap over queries'),
  level: z.number(),
  samples: wholeNumber,
  seed: wholeNumber,
});
export type BootstrapSettings = z.infer<typeof bootstrapSettings>;

/** Two means of the same queries, by Kaggle's formula. */
export const comparedMeans = z.object({
  queries: wholeNumber,
  a: z.number(),
  b: z.number(),
  /** b - a, with its 95 % interval. */
  difference: z.number(),
  low: z.number(),
  high: z.number(),
  /** Two-sided p-value of a paired permutation test: how often a difference this large arises when a and b are exchanged at random. */
  p: z.number(),
});
export type ComparedMeans = z.infer<typeof comparedMeans>;

export const comparedQuery = z.object({
  queryId: z.string(),
  usage: scoredUsage,
  a: z.number(),
  b: z.number(),
  difference: z.number(),
});

/** Limits of a comparison: changed queries on each side, and resamples. */
export const maxShownQueries = 1000;
export const maxSamples = 100_000;

export const comparison = z.object({
  /** Null where no query has that usage. */
  all: comparedMeans.nullable(),
  public: comparedMeans.nullable(),
  private: comparedMeans.nullable(),
  /** Numbers of queries for which b is better, worse, or equal. */
  better: wholeNumber,
  worse: wholeNumber,
  equal: wholeNumber,
  /** The queries that changed most, the largest change first. */
  gained: z.array(comparedQuery),
  lost: z.array(comparedQuery),
  /** Whether both are known to have searched the same gallery; false if one does not record it. */
  isGalleryKnown: z.boolean(),
  bootstrap: bootstrapSettings,
});
export type Comparison = z.infer<typeof comparison>;

export const evaluationView = z.object({
  id: idOf('artifact'),
  /** RUN/STEP, or MODEL@VERSION if it was named by it. */
  name: z.string(),
  runId: z.string().nullable(),
  step: z.string(),
  /** As of a step: `mapAt100`, and `mapAt100.low` and `mapAt100.high` of its interval. */
  scores: z.record(z.string(), z.number()),
  /** How the intervals were computed; null in an evaluation of an earlier release, which has none. */
  bootstrap: bootstrapSettings.nullable(),
  gallery: z.object({ digest: z.string(), rows: wholeNumber }).nullable(),
  /** Of the scored queries with their ground truths; null in an evaluation of an earlier release. */
  groundTruthDigest: z.string().nullable(),
  /** Whether it has scores by query: evaluations of earlier releases do not. */
  hasQueries: z.boolean(),
  createdAt: timestamp,
});
export type EvaluationView = z.infer<typeof evaluationView>;

/** GET /v1/evaluation. */
export const evaluationQuery = z.strictObject({ of: evaluationReference });

/** GET /v1/comparison. */
export const comparisonQuery = z.strictObject({
  a: evaluationReference,
  b: evaluationReference,
  /** Resamples; fewer by default where there are more than 5,000 queries. */
  samples: z.coerce.number().int().min(100).max(maxSamples).optional(),
  seed: z.coerce.number().int().min(0).max(largestInt4).default(0),
  /** Changed queries on each side. */
  show: z.coerce.number().int().min(0).max(maxShownQueries).default(20),
});
export const comparisonView = z.object({ a: evaluationView, b: evaluationView, comparison });

export const queryOrders = ['worst', 'best', 'gained', 'lost', 'changed', 'id'] as const;

/** GET /v1/evaluation/queries. */
export const queryScoresQuery = pageQuery.extend({
  of: evaluationReference,
  /** `worst` and `best` by average precision; `gained`, `lost` and `changed` by the difference to `against`; ties by id. */
  sort: z.enum(queryOrders).default('worst'),
  /** The evaluation to compare with. */
  against: evaluationReference.optional(),
  usage: scoredUsage.optional(),
  query: writtenText(200, { least: 1 }).optional().describe('Only this query, by its id.'),
});
export type QueryScoresQuery = z.infer<typeof queryScoresQuery>;

/** `before`: the average precision in `against`, and the difference to it; null without one. */
export const queryScoreRow = queryScore.extend({ before: z.number().nullable(), difference: z.number().nullable() });
export type QueryScoreRow = z.infer<typeof queryScoreRow>;
/** `total`: of all pages. */
export const queryScorePage = page(queryScoreRow).extend({ total: wholeNumber });
export type QueryScorePage = z.infer<typeof queryScorePage>;

// What a search found, query by query, and where that comes from.

/** GET /v1/evaluation/distribution. */
export const distributionQuery = z.strictObject({ of: evaluationReference, against: evaluationReference.optional() });
/** Queries by their average precision, in equal steps from 0 to 1; the last step includes 1. */
export const scoreDistribution = z.object({
  queries: wholeNumber,
  /** By Kaggle's formula, and by eval_cbir's, which leaves out queries that are their only ground truth. */
  kaggle: z.array(wholeNumber),
  reference: z.array(wholeNumber),
  /** By Kaggle's formula, in the evaluation to compare with. */
  against: z.array(wholeNumber).nullable(),
});
export type ScoreDistribution = z.infer<typeof scoreDistribution>;
export const distributionSteps = 20;

/** Queries of one request. */
export const maxNeighbourQueries = 20;
/** The results of a query that are scored. */
export const scoredDepth = 100;
const shownRanks = z.coerce.number().int().min(1).max(scoredDepth);

/** GET /v1/evaluation/neighbours. */
export const neighboursQuery = z.strictObject({
  of: evaluationReference,
  query: anyOf(imageId, maxNeighbourQueries).describe('The id of a scored query; may be repeated up to 20 times.'),
  against: evaluationReference.optional().describe('An evaluation of the same gallery and queries, whose results are given too.'),
  limit: shownRanks.default(10),
});
export type NeighboursQuery = z.output<typeof neighboursQuery>;

/** An image of the gallery. Label and shard are null where the list that was extracted cannot tell them. */
export const galleryImage = z.object({
  imageId: z.string(),
  /** The landmark's class number in the list; null without one. */
  label: z.number().int().nullable(),
  /** The shard of the index that has its features. */
  shard: wholeNumber.nullable(),
  /** Its rank in the other evaluation; null where that did not find it, or there is none. */
  otherRank: wholeNumber.nullable(),
});
export const rankedImage = galleryImage.extend({
  rank: wholeNumber,
  /** The inner product of the vectors: their cosine. */
  score: z.number(),
  /** Whether it is a ground truth of the query. */
  isRight: z.boolean(),
});
export type RankedImageView = z.infer<typeof rankedImage>;

/** What was found for one query. */
export const queryResults = z.object({
  /** Its score; `before` is that in the other evaluation. */
  query: queryScoreRow,
  items: z.array(rankedImage),
  /** Ground truths that are not among the scored results, at most 100. */
  missed: z.array(galleryImage),
  missedTotal: wholeNumber,
  /** What the other evaluation found; `otherRank` is the rank here. Null without one. */
  otherItems: z.array(rankedImage).nullable(),
});
export type QueryResults = z.infer<typeof queryResults>;

export const neighboursView = z.object({
  evaluation: z.object({ id: idOf('artifact'), name: z.string() }),
  /** NAME@VERSION, whose images these are; null where the run is not known. */
  dataset: z.string().nullable(),
  against: z.object({ id: idOf('artifact'), name: z.string() }).nullable(),
  /** In the order of the request. */
  queries: z.array(queryResults),
});
export type NeighboursView = z.infer<typeof neighboursView>;

/** GET /v1/evaluation/lineage: what the evaluation was made from, from the evaluation back to the first step. */
export const lineageView = z.object({
  evaluation: evaluationView,
  dataset: z.string().nullable(),
  /** Versions of models that were registered with it, at most 20. */
  models: z.array(z.object({ name: z.string(), version: z.number().int() })),
  made: z.array(
    z.object({
      /** What it is to the step that reads it; the evaluation itself has none. */
      role: z.string().nullable(),
      kind: artifactKind,
      artifactId: idOf('artifact'),
      run: z.object({ id: idOf('run'), name: z.string() }),
      step: z.string(),
      stepKind,
      /** The extracted list, of features. */
      list: z.string().nullable(),
    }),
  ),
});
export type LineageView = z.infer<typeof lineageView>;
