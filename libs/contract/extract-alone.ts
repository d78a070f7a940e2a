import { z } from 'zod';
import { imageSource } from './internal.ts';
import { sha256Hex, timestamp, wholeNumber } from './names.ts';
import { preprocessing } from './settings.ts';

// `cairn extract`: an extraction by one machine, without the service. The command starts the worker with a job, and reads its events.

/** A feature set: the URL of the object store that has its folder, and the name of the folder there. */
const setPlace = z.object({ store: z.string(), prefix: z.string() });

/** The job, as JSON on standard input. */
export const aloneJob = z.object({
  /** An exported model, an ONNX file of this machine. */
  model: z.string(),
  /** What the metadata of the model lacks; null: nothing. */
  imageSize: wholeNumber.nullable(),
  preprocessing: preprocessing.nullable(),
  /** A list of a preparation (Parquet with a column image_id), or a text file with an id in each line. */
  list: z.string(),
  source: imageSource.pick({ kind: true, root: true }),
  /** Addresses that may be read, with the settings of their storage; null: the source alone, as the environment says. */
  places: z.array(z.string()).nullable(),
  /** The URL of an object store without the last name of the set, and that name. */
  out: setPlace,
  /** Further models with the same preprocessing, which share the reading and decoding: each has its set in the same store. */
  also: z.array(z.object({ model: z.string(), prefix: z.string() })).default([]),
  /** A set of the same model, whose features are taken over where the images are the same; null: that in `out`, if there is one. */
  reuse: setPlace.nullable().default(null),
  /** Of a complete set, reads the images again that it rejected. */
  retryRejected: z.boolean().default(false),
  /** One child for each: the number of a GPU, or null for the CPU. */
  devices: z.array(wholeNumber.nullable()).min(1),
  batch: z.number().int().min(1),
  threads: z.number().int().min(1),
  /** Of each device; 0: the cores, shared out to the devices. */
  decodeThreads: z.number().int().min(0).default(0),
  shardRows: z.number().int().min(1),
});
export type AloneJob = z.infer<typeof aloneJob>;
export type AloneJobInput = z.input<typeof aloneJob>;

/** The file of a set of `cairn extract` with its images as they were: path, size and time of each, in the order of the extraction. */
export const aloneImagesFile = 'images.parquet';

/** What makes two extractions the same: a folder holds the parts of only one. */
export const aloneIdentity = z.object({
  model: sha256Hex,
  preprocessing,
  imageSize: wholeNumber,
  list: sha256Hex,
  source: z.string(),
});
export type AloneIdentity = z.infer<typeof aloneIdentity>;

/** `parts/plan.json` of an unfinished set; its digest is that of its identity. */
export const alonePlan = z.object({
  format: z.literal('cairn-extraction'),
  version: z.literal(1),
  digest: sha256Hex,
  identity: aloneIdentity,
  images: wholeNumber,
  shardRows: z.number().int().min(1),
  /** Of `parts/plan.parquet`: the images in the order in which they are read. */
  listSha256: sha256Hex,
  /** The images that the set in this place, or the one that is reused, rejected are read again. */
  retriesRejected: z.boolean().default(false),
  createdAt: timestamp,
});
export type AlonePlan = z.infer<typeof alonePlan>;

const aloneSet = z.object({
  images: wholeNumber,
  rows: wholeNumber,
  rejected: wholeNumber,
  shards: wholeNumber,
  /** The set's manifest. */
  digest: sha256Hex,
  idsSha256: sha256Hex,
  /** Shards that an earlier run had finished. */
  resumed: wholeNumber,
  /** Over all children. */
  seconds: z.object({ read: z.number(), decode: z.number(), infer: z.number(), write: z.number() }),
});
export const aloneSetDetails = aloneSet.omit({ digest: true, resumed: true });
export type AloneSet = z.infer<typeof aloneSet>;

/** The set of the model, and those of further models. */
export const aloneResult = aloneSet.extend({ also: z.array(aloneSet.extend({ prefix: z.string() })) });
export type AloneResult = z.infer<typeof aloneResult>;

/** Lines on standard output. */
export const aloneEvent = z.discriminatedUnion('type', [
  z.object({ type: z.literal('planned'), images: wholeNumber, shards: wholeNumber, done: wholeNumber }),
  z.object({ type: z.literal('progress'), done: wholeNumber, total: wholeNumber, rate: z.number() }),
  z.object({ type: z.literal('note'), message: z.string() }),
  z.object({ type: z.literal('done'), result: aloneResult }),
  z.object({ type: z.literal('failed'), code: z.string(), message: z.string() }),
]);
export type AloneEvent = z.infer<typeof aloneEvent>;
