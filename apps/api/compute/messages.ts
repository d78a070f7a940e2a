import { CairnError, type ErrorCode, errorTable, preprocessing } from '@cairn/contract';
import { z } from 'zod';

/** Bytes; the channel between the processes copies them as they are. */
const bytes = z.custom<Uint8Array>((value) => value instanceof Uint8Array);

/** Where an image of a dataset may be, relative to its root; of a tar, the piece, and the tar's state when that was recorded. */
export const imageLocation = z.object({
  path: z.string(),
  tar: z.string().nullish(),
  offset: z.number().nullish(),
  size: z.number().nullish(),
  fileBytes: z.number().nullish(),
  fileChangedMs: z.number().nullish(),
});
export type ImageLocation = z.infer<typeof imageLocation>;

/** What the api leaves to a child process: decoders read what anyone may have written, and models block the event loop. */
export const computeJob = z.discriminatedUnion('kind', [
  /** An image that was read as a JPEG to look at; answered by {@link pictureAnswer}. */
  z.object({ kind: z.literal('thumbnail'), path: z.string(), image: bytes, maxSide: z.number().int(), timeoutMs: z.number() }),
  /** The first of these images that exists as a JPEG to look at; answered by {@link pictureAnswer}. */
  z.object({
    kind: z.literal('picture'),
    root: z.string(),
    /** The folders that may hold datasets. */
    roots: z.array(z.string()),
    candidates: z.array(imageLocation),
    maxSide: z.number().int(),
    timeoutMs: z.number(),
  }),
  /** The nearest images of a feature set to a picture; answered by {@link searchAnswer}. */
  z.object({
    kind: z.literal('search'),
    picture: bytes,
    modelPath: z.string(),
    imageSize: z.number().int(),
    preprocessing,
    /** The folder of the feature set. */
    index: z.string(),
    topK: z.number().int(),
    threads: z.number().int(),
    timeoutMs: z.number(),
  }),
]);
export type ComputeJob = z.infer<typeof computeJob>;
export type ComputeJobOf<K extends ComputeJob['kind']> = Extract<ComputeJob, { kind: K }>;

/** Null where none of the images exists. */
export const pictureAnswer = bytes.nullable();

export const searchAnswer = z.object({
  galleryRows: z.number().int(),
  /** Best first. */
  neighbours: z.array(z.object({ imageId: z.string(), score: z.number() })),
});

const computeError = z.object({ code: z.string(), message: z.string(), details: z.record(z.string(), z.unknown()) });

/** Child to parent: one for each job. */
export const computeReply = z.union([z.object({ answer: z.unknown() }), z.object({ error: computeError })]);

export function toComputeError(error: unknown): z.infer<typeof computeError> {
  if (error instanceof CairnError) return { code: error.code, message: error.message, details: error.details };
  return { code: 'internal', message: error instanceof Error ? error.message : String(error), details: {} };
}

export function fromComputeError({ code, message, details }: z.infer<typeof computeError>): CairnError {
  return new CairnError(isErrorCode(code) ? code : 'internal', message, { details });
}

const isErrorCode = (code: string): code is ErrorCode => Object.hasOwn(errorTable, code);
