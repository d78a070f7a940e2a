import { z } from 'zod';
import { byteCount, idOf, modelReferencePattern, timestamp, wholeNumber } from './names.ts';
import { page, pageQuery, shardCounts } from './rest.ts';
import { shardState } from './states.ts';

// The shards of a fleet as a whole, the images that it left out, and searches with a picture.

/** More shards than the largest extraction has. */
export const maxGridShards = 20_000;

/** Seconds by activity: waiting for bytes, waiting for pixels, running the model, writing. */
export const shardSeconds = z.object({ read: z.number(), decode: z.number(), infer: z.number(), write: z.number() });
export type ShardSeconds = z.infer<typeof shardSeconds>;
export const shardActivities = ['read', 'decode', 'infer', 'write'] as const satisfies readonly (keyof ShardSeconds)[];

/** GET .../shards/grid: every shard of a step in order, one array for each property. */
export const shardGrid = z.object({
  asOf: timestamp,
  counts: shardCounts,
  /** Images of all shards. */
  images: wholeNumber,
  /** The places of the states in `shardState`: `pending`, `leased`, `committed`. */
  states: z.array(
    z
      .number()
      .int()
      .min(0)
      .max(shardState.options.length - 1),
  ),
  /** The place in `attempts` of the attempt that has it or has committed it; -1 for none. */
  workers: z.array(z.number().int().min(-1)),
  /** Seconds that it took, in tenths; -1 where they are not known. */
  tenths: z.array(z.number().int().min(-1)),
  rejected: z.array(wholeNumber),
  /** Leases so far: more than one means that it was given up before. */
  tries: z.array(wholeNumber),
  /** The attempts that hold or have committed shards, in the order of their ordinals. */
  attempts: z.array(
    z.object({
      id: idOf('attempt'),
      ordinal: z.number().int(),
      place: z.string().nullable(),
      isLive: z.boolean(),
      shards: wholeNumber,
      images: wholeNumber,
      /** Of its committed shards. */
      seconds: shardSeconds,
      /** The bytes of the images that it read for them, and on what; null where it does not tell. */
      bytesRead: byteCount.nullable(),
      device: z.string().nullable(),
      startedAt: timestamp.nullable(),
      endedAt: timestamp.nullable(),
    }),
  ),
  /** Images a second of the shards that were committed in the last ten minutes; null without any. */
  rate: z.number().nullable(),
  etaSeconds: z.number().nullable(),
  /** Time of GPUs that its attempts held, and its price; null where a pool has none. */
  gpuSeconds: z.number(),
  cost: z.number().nullable(),
  /** Why no image can be missing, or what is still open: one sentence. */
  proof: z.string(),
});
export type ShardGrid = z.infer<typeof shardGrid>;

/** GET .../rejected. */
export const rejectedQuery = pageQuery;
/** An image that an extraction left out. */
export const rejectedImage = z.object({
  imageId: z.string(),
  /** Relative to the root of the dataset. */
  path: z.string(),
  reason: z.string(),
  /** Of its file, by the list; null where it was not recorded. */
  bytes: byteCount.nullable(),
  shard: wholeNumber,
});
export type RejectedImageView = z.infer<typeof rejectedImage>;
/** `total`: of the committed shards. `dataset`: NAME@VERSION, whose images these are. */
export const rejectedPage = page(rejectedImage).extend({ total: wholeNumber, dataset: z.string() });

/** The largest picture that can be searched with. */
export const maxPictureBytes = 20_000_000;

/** POST /v1/search, with the picture's bytes as the body. */
export const pictureSearchQuery = z.strictObject({
  model: z
    .string()
    .regex(modelReferencePattern, 'use MODEL, MODEL@VERSION or MODEL@ALIAS')
    .describe('A registered model, with its features.'),
  topK: z.coerce.number().int().min(1).max(100).default(20),
});
export const pictureSearchView = z.object({
  /** NAME@VERSION. */
  model: z.string(),
  dataset: z.string().nullable(),
  galleryRows: wholeNumber,
  /** Best first; the score is the cosine of the vectors. */
  items: z.array(z.object({ rank: wholeNumber, imageId: z.string(), score: z.number(), label: z.number().int().nullable() })),
  seconds: z.number(),
});
export type PictureSearchView = z.infer<typeof pictureSearchView>;
