import { z } from 'zod';
import { safeName } from './names.ts';
import { listName, preprocessing } from './settings.ts';
import { writtenText } from './text.ts';

/**
 * Several trained models searched together: their similarities are reranked, weighed and added. It names recipes and is none
 * itself: no step searches several models yet.
 */
export const ensemble = z.strictObject({
  name: safeName,
  description: writtenText(2000, { lines: true }).default(''),
  dataset: safeName.optional(),
  /** The recipes whose registered models take part, each with its weight in the sum of similarities. */
  models: z.record(safeName, z.strictObject({ weight: z.number().positive().default(1) })),
  imageSize: z.number().int().min(32).max(1024),
  preprocessing: preprocessing.default('cairn'),
  /** The list whose landmarks and countries the index and the queries are tagged with. */
  references: listName,
  rerank: z.strictObject({
    /** Where the tags raise a similarity: nowhere, in each model's similarities, or in their sum. */
    category: z.enum(['off', 'before_merge', 'after_merge']),
    /** Nearest references of a query that vote for its landmark and country. */
    votes: z.number().int().min(1).max(30),
    /** What a landmark's share of the votes adds to a similarity. */
    alpha: z.number().min(0),
    /** The same for a country's share. */
    beta: z.number().min(0),
    /** Neighbours of the k-reciprocal sets, and of the query expansion. */
    k1: z.number().int().min(1),
    k2: z.number().int().min(1),
  }),
});
export type Ensemble = z.infer<typeof ensemble>;

/**
 * What a feature set's `manifest.json` may tell of how it was made, in its `details`: the digest of the model, and the preprocessing of the images. Sets with
 * different ones are not to be compared. Unknown keys are passed over, and a set may tell nothing.
 */
export const featureSetManifest = z.object({
  details: z.object({ model: z.string().nullish(), preprocessing: z.string().nullish() }).default({}),
});
