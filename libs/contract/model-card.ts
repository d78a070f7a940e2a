import { z } from 'zod';
import { fileName, idOf, modelReferencePattern, sha256Hex, timestamp } from './names.ts';
import { wholeNumber } from './numbers.ts';
import { artifactKind } from './states.ts';

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
  files: z.array(z.object({ path: z.string(), artifactId: idOf('artifact'), file: fileName, bytes: wholeNumber, sha256: sha256Hex })),
  bytes: wholeNumber,
  lineage: z.array(z.object({ role: z.string(), id: idOf('artifact'), kind: artifactKind, digest: sha256Hex.nullable() })),
});
export type ModelCard = z.infer<typeof modelCard>;

/** `manifest.json` in a folder that `cairn models pull` made: the version that it holds, and its files. */
export const pulledManifest = z.object({
  model: z.string(),
  version: wholeNumber,
  files: z.array(z.object({ path: z.string(), bytes: wholeNumber, sha256: sha256Hex })),
});
export type PulledManifest = z.infer<typeof pulledManifest>;
