import { z } from 'zod';
import { imageId } from './catalogue.ts';
import { evaluationReference, idOf, wholeNumber } from './names.ts';
import { anyOf } from './rest.ts';
import { evaluationView, queryScoreRow } from './scores.ts';
import { artifactKind, stepKind } from './states.ts';

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
  against: evaluationReference.optional().describe('An evaluation of the same gallery and queries, whose results are given beside.'),
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
