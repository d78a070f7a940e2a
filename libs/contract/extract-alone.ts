import { z } from 'zod';
import { imageSource } from './internal.ts';
import { sha256Hex, timestamp, wholeNumber } from './names.ts';
import { preprocessing } from './settings.ts';

// `cairn extract`: an extraction by one machine, without the service. The command starts the worker with a job, and reads its events.

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
  out: z.object({ store: z.string(), prefix: z.string() }),
  /** One child for each: the number of a GPU, or null for the CPU. */
  devices: z.array(wholeNumber.nullable()).min(1),
  batch: z.number().int().min(1),
  threads: z.number().int().min(1),
  shardRows: z.number().int().min(1),
});
export type AloneJob = z.infer<typeof aloneJob>;

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
  createdAt: timestamp,
});
export type AlonePlan = z.infer<typeof alonePlan>;

export const aloneResult = z.object({
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
