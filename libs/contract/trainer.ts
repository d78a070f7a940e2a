import { z } from 'zod';
import { neighboursMatching } from './artifact-details.ts';
import { type ErrorCode, errorTable } from './errors.ts';
import { sha256Hex } from './names.ts';
import { localMatchingSettings } from './rerank-settings.ts';
import { exportSettings, modelSettings, trainSettings } from './settings.ts';

/** A list as the trainer and the extraction read it: a Parquet file and its counts. */
export const listFile = z.object({ path: z.string(), rows: z.number().int(), labels: z.number().int().nullable() });
export type ListFile = z.infer<typeof listFile>;

/**
 * `python -m cairn_trainer --config stage.json`, under torchrun: the configuration of one attempt at a training stage. Paths are local. The
 * trainer ignores unknown keys, so that a newer agent can drive an older trainer.
 */
export const trainerConfig = z.object({
  protocol: z.literal(1),
  stage: z.string(),
  settings: trainSettings,
  model: modelSettings,
  /** Classes of the classifier: the list's labels, or more when the list skips some. */
  classes: z.number().int().min(1),
  list: listFile,
  imageRoot: z.string(),
  /** The query and index lists and the ground truth; needed when `settings.evaluate` is not `none`. */
  evaluation: z.object({ query: z.string(), index: z.string(), groundTruth: z.string() }).nullable(),
  /** A whole model to start the stage from, of the previous stage or imported; null starts from `weights` or `model.initSeed`. */
  start: z.object({ path: z.string(), sha256: sha256Hex }).nullable(),
  /** Published ImageNet weights to start the backbone from; null for none. */
  weights: z.object({ path: z.string(), sha256: sha256Hex }).nullable(),
  /** A checkpoint of this stage to resume from, with optimizer, sampler position and random states. */
  resume: z.object({ path: z.string(), sha256: sha256Hex }).nullable(),
  /** Checkpoints are written here under a temporary name and renamed. */
  outputDir: z.string(),
  /** Rank 0 appends one JSON object per line here: {@link trainerEvent}. */
  eventsPath: z.string(),
  /** When this file appears, the ranks save a checkpoint at the next optimizer step and end with the event `preempted`. */
  stopPath: z.string(),
});
export type TrainerConfig = z.infer<typeof trainerConfig>;

/** `python -m cairn_trainer.export --config export.json`. */
export const exporterConfig = z.object({
  protocol: z.literal(1),
  settings: exportSettings,
  model: modelSettings,
  checkpoint: z.object({ path: z.string(), sha256: sha256Hex }),
  /** A list whose first readable images are used to compare ONNX Runtime with PyTorch. */
  list: listFile,
  imageRoot: z.string(),
  outputDir: z.string(),
  eventsPath: z.string(),
});
export type ExporterConfig = z.infer<typeof exporterConfig>;

/** `python -m cairn_trainer.match_images`: the first line of its input. */
export const matchingConfig = z.object({
  settings: localMatchingSettings,
  /** An ONNX matcher; null for SIFT. */
  matcherPath: z.string().nullable(),
  queryRoot: z.string(),
  indexRoot: z.string(),
  /** A folder in which inliers are kept for later searches; null for none. */
  cache: z.string().nullable(),
  threads: z.number().int(),
});
export type MatchingConfig = z.infer<typeof matchingConfig>;

/** An image, relative to its root: a file, or a part of a tar. */
export const imagePlace = z.object({
  path: z.string().min(1),
  tar: z.string().nullable(),
  offset: z.number().int().nullable(),
  size: z.number().int().nullable(),
  /** Its file or tar during `prepare`, null if there was none; with `isRecorded` a file that differs is an error. */
  fileBytes: z.number().int().nullable(),
  fileChangedMs: z.number().int().nullable(),
  isRecorded: z.boolean(),
});
export type ImagePlace = z.infer<typeof imagePlace>;

/** The further lines: a query, and the images of the index that it is matched with. */
export const matchingRequest = z.object({ id: z.number().int(), query: imagePlace, images: z.array(imagePlace) });
export type MatchingRequest = z.infer<typeof matchingRequest>;

export const unreadableImage = z.object({ side: z.enum(['query', 'index']), path: z.string(), reason: z.string() });
export type UnreadableImagePlace = z.infer<typeof unreadableImage>;

/** The lines of its output: `ready`, an answer to each request in any order, and where it fails `failed` as the last. */
export const matchingAnswer = z.discriminatedUnion('type', [
  z.object({ type: z.literal('ready'), matcher: neighboursMatching.shape.matcher }),
  z.object({
    type: z.literal('matched'),
    id: z.number().int(),
    /** Of each image. 0 also for a pair with an image that cannot be read. */
    inliers: z.array(z.number().int().min(0)),
    /** How many of them an earlier search had kept. */
    cached: z.number().int().min(0),
    unreadable: z.array(unreadableImage),
  }),
  z.object({ type: z.literal('failed'), code: z.enum(Object.keys(errorTable) as [ErrorCode, ...ErrorCode[]]), message: z.string() }),
]);
export type MatchingAnswer = z.infer<typeof matchingAnswer>;

const at = { time: z.number().describe("Seconds since the epoch, by the trainer's clock.") };

/** What the trainer reports, one JSON object per line. */
export const trainerEvent = z.discriminatedUnion('event', [
  z.object({
    event: z.literal('started'),
    ...at,
    worldSize: z.number().int(),
    device: z.string(),
    parameters: z.number().int(),
    images: z.number().int(),
    stepsPerEpoch: z.number().int(),
    totalSteps: z.number().int(),
    startStep: z.number().int(),
  }),
  z.object({
    event: z.literal('step'),
    ...at,
    step: z.number().int().describe('Optimizer steps taken, 1-based, over the whole stage.'),
    epoch: z.number().describe('Epochs passed, with fraction.'),
    loss: z.number(),
    accuracy: z.number().describe('Share of the batch classified correctly without the margin, 0 to 1.'),
    learningRate: z.number(),
    imagesPerSecond: z.number(),
    dataWaitShare: z.number().describe('Share of the time spent waiting for images, 0 to 1.'),
    gpuMemoryBytes: z.number(),
    etaSeconds: z.number(),
  }),
  z.object({
    event: z.literal('evaluation'),
    ...at,
    when: z.enum(['start', 'epoch', 'end']),
    step: z.number().int(),
    mapAt100: z.number().describe('mAP@100 over all scored queries, 0 to 1.'),
    queries: z.number().int(),
    index: z.number().int(),
    galleryDigest: sha256Hex.describe(
      'SHA-256 of the sorted ids of the index images searched, one per line: scores are comparable only where it is equal.',
    ),
  }),
  z.object({
    event: z.literal('checkpoint'),
    ...at,
    path: z.string(),
    sha256: sha256Hex,
    bytes: z.number().int(),
    step: z.number().int(),
    epoch: z.number(),
    final: z.boolean().describe('True for the last one of the stage, which the next stage starts from.'),
    optimizer: z.boolean().describe('True when training can be resumed from it.'),
  }),
  z.object({ event: z.literal('badImage'), ...at, imageId: z.string(), path: z.string(), reason: z.string() }),
  z.object({
    event: z.literal('exported'),
    ...at,
    files: z.array(z.object({ name: z.string(), path: z.string() })),
    cosine: z.number(),
    images: z.number().int(),
  }),
  z.object({ event: z.literal('preempted'), ...at, step: z.number().int() }),
  z.object({ event: z.literal('finished'), ...at, step: z.number().int(), badImages: z.number().int() }),
  z.object({
    event: z.literal('failed'),
    ...at,
    code: z.string().describe('A code of the error table: too_many_bad_images, training_diverged, model_mismatch, missing_file ...'),
    message: z.string(),
  }),
]);
export type TrainerEvent = z.infer<typeof trainerEvent>;
