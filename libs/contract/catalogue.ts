import { z } from 'zod';
import { imageSource } from './internal.ts';
import { labelSizes, listSample } from './list-contents.ts';
import { byteCount, fileName, idOf, largestInt4, modelReferencePattern, safeName, sha256Hex, timestamp, wholeNumber } from './names.ts';
import { runSource } from './origin.ts';
import { recipe } from './recipe.ts';
import { page } from './rest.ts';
import { backbone, weightsExtent } from './settings.ts';
import { artifactKind, artifactState, runState } from './states.ts';
import { folderPath, writtenText } from './text.ts';

// Datasets, recipes, models and artifacts.

/**
 * POST /v1/datasets: registers the location of a collection, after checking its files. Registering the same name and source again changes
 * nothing.
 */
export const datasetRequest = z.strictObject({
  name: safeName,
  source: z.strictObject({ ...imageSource.shape, root: folderPath, metadata: folderPath, countries: folderPath.nullable() }),
});
export const datasetView = z.object({
  id: idOf('dataset'),
  name: z.string(),
  version: z.number().int(),
  owner: z.string(),
  source: imageSource,
  digest: sha256Hex,
  /** What the digest covers: for a folder its listing with sizes and times, for tars their md5s. */
  digestBasis: z.string(),
  createdAt: timestamp,
});
export type DatasetView = z.infer<typeof datasetView>;
export const datasetPage = page(datasetView);

/** The folders of a collection in GLDv2's layout. */
export const imageSplits = ['train', 'index', 'test'] as const;
export type ImageSplit = (typeof imageSplits)[number];

/**
 * An image id: GLDv2's are 16 lower-case hexadecimal digits; other collections may use letters, digits, dash and underscore, at least
 * three, since the first three name folders. No id can lead out of a folder.
 */
export const imageIdPattern = /^[0-9A-Za-z_-]{3,64}$/;
export const imageId = z.string().regex(imageIdPattern, 'use letters, digits, dash and underscore, 3 to 64 of them');

/** Sides of pictures in pixels. */
export const pictureSizes = [256, 512, 1024] as const;
/** GET /v1/datasets/:name/images/:id. */
export const imageQuery = z.strictObject({
  size: z.enum(pictureSizes.map(String)).default('512').transform(Number).describe('The longer side, in pixels: 256, 512 or 1024.'),
  split: z.enum(imageSplits).optional().describe('The part of the dataset that has the image; any by default.'),
});
export type ImageQuery = z.output<typeof imageQuery>;
/** Most runs and most models of a dataset's usage: the newest. */
export const maxDatasetUsers = 20;

/** GET /v1/datasets/:name/usage: what was made from one version of a dataset. */
export const datasetUsage = z.object({
  dataset: datasetView,
  /** All of its versions, newest first; at most 200. */
  versions: z.array(z.object({ version: z.number().int(), owner: z.string(), digest: sha256Hex, createdAt: timestamp })),
  /** As prepared last; empty until a run has prepared lists. */
  lists: z.array(
    z.object({
      name: z.string(),
      rows: z.number().int(),
      /** Distinct images. */
      images: z.number().int(),
      /** Of the label space; null where the list has no labels. */
      classes: z.number().int().nullable(),
      /** Rows by label; null where the list has no labels, or an earlier release made it. */
      labelSizes: labelSizes.nullable().default(null),
      /** Images of it to look at; none where an earlier release made it. */
      samples: z.array(listSample).default([]),
      artifactId: idOf('artifact'),
    }),
  ),
  runs: z.object({
    total: z.number().int(),
    items: z.array(z.object({ id: idOf('run'), name: z.string(), state: runState, owner: z.string(), createdAt: timestamp })),
  }),
  models: z.object({
    total: z.number().int(),
    items: z.array(z.object({ name: z.string(), version: z.number().int(), runId: idOf('run'), createdAt: timestamp })),
  }),
});
export type DatasetUsage = z.infer<typeof datasetUsage>;

/** `models`: of a recipe with several. */
export const recipeSummary = z.object({
  name: z.string(),
  description: z.string(),
  stages: z.array(z.string()),
  models: z.array(z.string()).default([]),
});
export const recipeList = z.object({ items: z.array(recipeSummary) });
export const recipeView = z.object({ recipe: recipe, yaml: z.string() });

export const modelView = z.object({
  id: idOf('model'),
  name: z.string(),
  version: z.number().int(),
  owner: z.string(),
  runId: idOf('run'),
  /** The commit that its run was started for. */
  source: runSource.nullable().default(null),
  /** Artifact ids by role: checkpoint, model, index, query, neighbours, evaluation. */
  artifacts: z.record(z.string(), z.string()),
  metrics: z.record(z.string(), z.number()),
  /** Those that name this version. */
  aliases: z.array(z.string()).default([]),
  createdAt: timestamp,
  /** When the retention policy gave up its artifacts; its metrics stay. */
  removedAt: timestamp.nullable().default(null),
});
export type ModelView = z.infer<typeof modelView>;
export const modelPage = page(modelView);

const versionNumber = z.number().int().min(1).max(999_999_999);
const reason = writtenText(500, { least: 1 });
/** PUT /v1/models/:name/aliases/:alias: lets the alias name a version. Without `ifVersion` it does not matter which one it names now. */
export const aliasRequest = z.strictObject({
  version: versionNumber,
  reason,
  /** Refused with `wrong_state` unless the alias names this version; null: unless it does not exist. */
  ifVersion: versionNumber.nullable().optional(),
});
/** POST .../rollback: lets the alias name the version that it named before. DELETE: removes the alias; its history stays. */
export const aliasChange = z.strictObject({ reason });
export const aliasView = z.object({
  model: z.string(),
  alias: z.string(),
  version: z.number().int(),
  reason: z.string(),
  movedBy: z.string(),
  movedAt: timestamp,
});
export type AliasView = z.infer<typeof aliasView>;
export const aliasList = z.object({ items: z.array(aliasView) });

export const aliasAction = z.enum(['set', 'rollback', 'remove']);
export type AliasAction = z.infer<typeof aliasAction>;
/** One entry of an alias's history, newest first. A version is null where the alias did not exist before, or does not afterwards. */
export const aliasMoveView = z.object({
  action: aliasAction,
  fromVersion: z.number().int().nullable(),
  toVersion: z.number().int().nullable(),
  reason: z.string(),
  movedBy: z.string(),
  movedAt: timestamp,
});
export type AliasMoveView = z.infer<typeof aliasMoveView>;
export const aliasMovePage = page(aliasMoveView);

export const artifactView = z.object({
  id: idOf('artifact'),
  kind: artifactKind,
  state: artifactState,
  digest: sha256Hex.nullable(),
  prefix: z.string(),
  /** For people: the storage's address and the prefix. */
  location: z.string(),
  bytes: z.number().int(),
  /** All of them, or none where there are more than 1,000: `manifest.json` has those. */
  files: z.array(z.object({ name: z.string(), bytes: z.number().int(), sha256: sha256Hex })),
  fileCount: z.number().int(),
  details: z.record(z.string(), z.unknown()),
  runId: z.string().nullable(),
  createdAt: timestamp,
});
export type ArtifactView = z.infer<typeof artifactView>;

/** What an imported file holds: a published backbone, a whole model in the reference's format, or an ONNX graph that matches images. */
export const weightsContent = z.enum(['backbone', 'model', 'matcher']);
export type WeightsContent = z.infer<typeof weightsContent>;

/** What stands for the backbone of a matcher: the form of its inputs and outputs. */
export const matcherForm = 'lightglue-end2end';

/** The largest accepted file of weights, in bytes. */
export const maxWeightsBytes = 8 * 1024 ** 3;

/** The query of PUT /v1/weights/:name, which describes the file; its bytes are the body. */
export const weightsQuery = z.strictObject({
  content: weightsContent.default('backbone'),
  backbone: backbone.optional().describe('The network of the tensors; a matcher has none.'),
  extent: weightsExtent.default('all'),
  /** SHA-256 of the body. */
  sha256: sha256Hex,
  source: writtenText(2000).optional(),
  licence: writtenText(200).optional(),
  /** Only for a whole model: read from its tensors. */
  embeddingDim: z.coerce.number<number>().int().min(8).max(4096).optional(),
  classes: z.coerce.number<number>().int().min(1).max(largestInt4).optional(),
});
export type WeightsQuery = z.infer<typeof weightsQuery>;

export const weightsView = z.object({
  id: idOf('weights'),
  /** The name that recipes refer to. */
  name: z.string(),
  content: weightsContent,
  backbone: z.string().describe('Of a matcher: the form of its inputs and outputs.'),
  extent: weightsExtent,
  sha256: sha256Hex,
  bytes: z.number().int(),
  source: z.string().nullable(),
  licence: z.string().nullable(),
  embeddingDim: z.number().int().nullable(),
  classes: z.number().int().nullable(),
  owner: z.string(),
  artifactId: idOf('artifact'),
  createdAt: timestamp,
});
export type WeightsView = z.infer<typeof weightsView>;
export const weightsPage = page(weightsView);

/** A version of a model as people name it: NAME@VERSION or NAME@ALIAS. */
export const modelVersionReference = z
  .string()
  .regex(modelReferencePattern)
  .regex(/@/, 'name the version or an alias, as NAME@VERSION or NAME@ALIAS');

/** What a version of a model is made of and how good it is: GET /v1/models/NAME@VERSION/card. */
export const modelCard = z.object({
  model: z.string(),
  version: wholeNumber,
  owner: z.string(),
  createdAt: timestamp,
  aliases: z.array(z.string()),
  /** Null, as is the data, where the run has been removed. */
  run: z.object({ id: idOf('run'), name: z.string(), recipe: z.string(), recipeYaml: z.string() }).nullable(),
  data: z.object({ dataset: z.string(), digest: sha256Hex }).nullable(),
  /** Shares from 0 to 1, and counts; mapAt100Low to mapAt100High is the 95 % interval of mapAt100. */
  metrics: z.record(z.string(), z.number()),
  /** Published weights that training started from, whose licence may bind users of the model; of an ensemble, those of each model. */
  startingWeights: z.array(z.object({ name: z.string(), source: z.string().nullable(), licence: z.string().nullable() })),
  /** What `cairn models pull` fetches, from GET /v1/artifacts/ID/files/FILE. Models of an ensemble have a folder each. */
  files: z.array(z.object({ path: z.string(), artifactId: idOf('artifact'), file: fileName, bytes: byteCount, sha256: sha256Hex })),
  bytes: byteCount,
  lineage: z.array(z.object({ role: z.string(), id: idOf('artifact'), kind: artifactKind, digest: sha256Hex.nullable() })),
});
export type ModelCard = z.infer<typeof modelCard>;

/** `manifest.json` in a folder that `cairn models pull` made: the version that it holds, and its files. */
export const pulledManifest = z.object({
  model: z.string(),
  version: wholeNumber,
  files: z.array(z.object({ path: z.string(), bytes: byteCount, sha256: sha256Hex })),
});
export type PulledManifest = z.infer<typeof pulledManifest>;
