import { z } from 'zod';
import { evaluationReference, idOf, timestamp } from './names.ts';
import { largestInt4, wholeNumber } from './numbers.ts';
import { page, pageQuery } from './rest.ts';
import { writtenText } from './text.ts';

// Scores of queries, and comparisons of two evaluations. Averages and shares are from 0 to 1.

/** Public and Private queries are scored; their means are also given apart. */
export const scoredUsage = z.enum(['Public', 'Private']);

/** The score of one query: a row of `per_query.parquet`, the same on the wire. */
export const queryScore = z.object({
  queryId: z.string(),
  usage: scoredUsage,
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
export type ComparisonView = z.infer<typeof comparisonView>;

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
