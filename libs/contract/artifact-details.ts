import { z } from 'zod';
import { featureOrigin } from './feature-files.ts';
import { labelSizes, listSample } from './list-contents.ts';
import { sha256Hex, wholeNumber } from './names.ts';
import { continent } from './query-groups.ts';
import { rerankSettings } from './rerank-settings.ts';
import { bootstrapSettings, continentScore, mapIntervals } from './scores.ts';
import { exportSettings, preprocessing } from './settings.ts';
import type { ArtifactKind } from './states.ts';

// The details of an artifact in its row and its manifest, by its kind. Checked when an attempt ends, and read with the same schema. Keys
// that only people read, or that another version wrote, are kept. What an earlier version did not write is optional.

/** A score from 0 to 1; null where nothing could be scored. */
const score = z.number().nullish();

export const listsDetails = z.looseObject({
  lists: z.record(
    z.string(),
    z.looseObject({
      rows: wholeNumber,
      /** Distinct image ids: what an extraction of the list must account for. */
      distinct: wholeNumber,
      /** Classes of the label space: largest label + 1; null where the list has no labels. */
      classes: wholeNumber.nullable(),
      /** Labels that occur, rows without one, and rows without an image file, some of which are named; absent in lists that an earlier release made. */
      labels: wholeNumber.optional(),
      unlabelled: wholeNumber.optional(),
      missingImages: wholeNumber.nullish(),
      missingExamples: z.array(z.string()).optional(),
      /** Digest of the list's file; absent in lists that an earlier release made. */
      sha256: sha256Hex.optional(),
      /** Digest of the md5s of the tars that hold its images; null for images in folders, whose sizes and times are in the rows. */
      tarsDigest: sha256Hex.nullable().optional(),
      /** Rows by label, null without labels, and images to look at; absent in lists that an earlier release made. */
      labelSizes: labelSizes.nullable().optional(),
      samples: z.array(listSample).optional(),
    }),
  ),
  groundTruth: z.looseObject({ sha256: sha256Hex }).nullish(),
});
export type ListsDetails = z.infer<typeof listsDetails>;

/** Of imported weights, and of a matcher: their name, their network or form, and their source. */
export const weightsDetails = z.looseObject({
  imported: z.string(),
  backbone: z.string(),
  source: z.string().nullable(),
  licence: z.string().nullable(),
});

/** Of a training stage, or of a whole model that was imported. */
export const checkpointDetails = z.looseObject({
  ...weightsDetails.partial().shape,
  /** Optimizer steps and epochs of the stage. */
  step: wholeNumber.optional(),
  epoch: z.number().optional(),
  classes: wholeNumber.optional(),
  mapAt100Start: score,
  mapAt100End: score,
  /** SHA-256 of the sorted ids of the images that were searched for the scores. */
  galleryDigest: z.string().optional(),
});
export type CheckpointDetails = z.infer<typeof checkpointDetails>;

/** What an extraction must know to use the model. */
export const modelDetails = z.looseObject({
  /** Side of the square input in pixels. */
  imageSize: z.number().int(),
  preprocessing,
  /** Precision of the backbone; absent in models that were exported before there was a choice, which are fp32. */
  precision: exportSettings.shape.precision,
  /** The scales whose mean a feature is; absent where it is of one size. */
  scales: exportSettings.shape.scales,
  /** Whether it is also the mean over the mirrored image. */
  flip: exportSettings.shape.flip,
  embeddingDim: z.number().int(),
  /** The least cosine between ONNX Runtime and PyTorch on real images. */
  cosine: z.number(),
});

/** With what distinguishes features of different models; sets of earlier releases lack it. */
export const featuresDetails = z.looseObject({
  list: z.string(),
  rows: wholeNumber,
  rejected: wholeNumber,
  shards: wholeNumber,
  ...featureOrigin.shape,
});

/** The nearest reference of each image of a feature set. */
export const tagsDetails = z.looseObject({ rows: wholeNumber, shards: wholeNumber });

/** The references that vote on each query; `rows`: of the queries. */
export const votesDetails = z.looseObject({ rows: wholeNumber, shards: wholeNumber });

/** The nearest images of each query in each shard of an index; `rows`: of the index. */
export const candidatesDetails = z.looseObject({ rows: wholeNumber, shards: wholeNumber });

/** Of the references that voted. `ofGallery`, `ofQueries`: those that are themselves searched, or searched for, whose labels know the answer. */
export const neighboursReferences = z.object({
  rows: wholeNumber,
  labelsWithoutFeatures: wholeNumber,
  withoutCountry: wholeNumber,
  ofGallery: wholeNumber,
  ofQueries: wholeNumber,
});

/** Of the pairs of a query and one of its first images that were matched. */
export const neighboursMatching = z.object({
  matcher: z.object({ kind: z.enum(['sift', 'onnx']), version: z.string(), sha256: z.string().nullable() }),
  pairs: wholeNumber,
  /** Of them, those whose inliers an earlier search had kept. */
  cachedPairs: wholeNumber,
  unreadableImages: wholeNumber,
});

/** `index`: the artifact that was searched, of several models the first one's; `models`: the weight of each. */
export const neighboursDetails = z.looseObject({
  queries: wholeNumber,
  index: z.string(),
  topK: wholeNumber,
  models: z.record(z.string(), z.number()).optional(),
  rerank: rerankSettings.optional(),
  references: neighboursReferences.nullish(),
  localMatching: neighboursMatching.nullish(),
});

const maps = z.looseObject({
  kaggle: z.looseObject({ public: score, private: score, all: score }).optional(),
  reference: score,
  intervals: mapIntervals.optional(),
});

export const evaluationDetails = z.looseObject({
  mapAt100: maps,
  /** Only continents that have queries; absent where no query has one. */
  byContinent: z.partialRecord(continent, continentScore).optional(),
  /** How the intervals were computed. */
  bootstrap: bootstrapSettings.optional(),
  queries: z.looseObject({ public: wholeNumber.optional(), private: wholeNumber.optional() }).optional(),
  galleryDigest: z.string().optional(),
  galleryRows: wholeNumber.optional(),
  /** SHA-256 of the scored queries with their ground truths. */
  groundTruthDigest: z.string().optional(),
});

/** `metrics`: of the model version. */
export const registrationDetails = z.looseObject({ model: z.string(), metrics: z.record(z.string(), z.number()) });

export const artifactDetails = {
  lists: listsDetails,
  checkpoint: checkpointDetails,
  model: modelDetails,
  features: featuresDetails,
  tags: tagsDetails,
  votes: votesDetails,
  candidates: candidatesDetails,
  neighbours: neighboursDetails,
  evaluation: evaluationDetails,
  registration: registrationDetails,
  weights: weightsDetails,
  matcher: weightsDetails,
} as const satisfies Record<ArtifactKind, z.ZodType>;
export type ArtifactDetails = { [Kind in ArtifactKind]: z.infer<(typeof artifactDetails)[Kind]> };
