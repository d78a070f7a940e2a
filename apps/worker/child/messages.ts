import {
  CairnError,
  type ErrorCode,
  errorTable,
  neighboursMatching,
  neighboursReferences,
  preprocessing,
  rerankSettings,
  unreadableImage,
  votingConstants,
} from '@cairn/contract';
import { z } from 'zod';

/** What tags are of: the digests of the feature sets and of the list. */
const tagsOrigin = z.object({ index: z.string(), references: z.string(), list: z.string() });
/** What votes are of: likewise, and the settings that they depend on. */
const votesOrigin = z.object({
  ...{ query: z.string(), references: z.string(), list: z.string() },
  constants: votingConstants,
});
/** What candidates are of: the digests of the feature sets, and how many are kept of each query. */
const candidatesOrigin = z.object({ query: z.string(), index: z.string(), topK: z.number().int() });

/** A model and its feature set. */
const extractionSet = z.object({
  modelPath: z.string(),
  /** Where the files of its shards are written. */
  outDir: z.string(),
  /** What an earlier set has of the list, and the folder for its parts (`planDifference`); null without one. */
  earlier: z.object({ path: z.string(), folder: z.string() }).nullable(),
  /** The extraction that it is of. */
  extraction: z.string(),
});

/** The jobs of an agent for a child process, one at a time: work that blocks the event loop for longer than a heartbeat. */
export const childJob = z.discriminatedUnion('kind', [
  /** Opens models and list; answered by {@link openedShards}. The first job of an extraction. */
  z.object({
    kind: z.literal('openExtraction'),
    /** One for each model: a feature set. */
    sets: z.array(extractionSet).min(1),
    listPath: z.string(),
    imageRoot: z.string(),
    /** The folders and addresses that may hold datasets; null: any. */
    datasetRoots: z.array(z.string()).nullable(),
    device: z.enum(['cpu', 'cuda']),
    /** CPU threads of ONNX Runtime. */
    threads: z.number().int(),
    imageSize: z.number().int(),
    preprocessing,
    batch: z.number().int(),
    /** Threads that decode images. */
    decodeConcurrency: z.number().int(),
    /** The folder of what is kept of unfinished shards. */
    journals: z.string(),
    /** Images that an earlier set rejected are read again: one whose file differs from the list stays rejected. */
    retriesRejected: z.boolean().optional(),
  }),
  /**
   * Extracts a shard: `count` distinct images of the list starting with the `from`th; answered by {@link extractionAnswer}, with an answer for
   * each set that is asked for.
   */
  z.object({
    kind: z.literal('extractShard'),
    index: z.number().int(),
    from: z.number().int(),
    count: z.number().int(),
    /** The numbers of the sets that do not have the shard yet. */
    sets: z.array(z.number().int()),
    /** One image after another: each is written to {@link suspectFile} before it is read. */
    isOneByOne: z.boolean(),
    /** Images that are rejected unread. */
    rejects: z.array(z.object({ imageId: z.string(), reason: z.string() })),
  }),
  /** Decodes and extracts a grey picture of its own: a machine that cannot do this is at fault, not an image. Answered by null. */
  z.object({ kind: z.literal('probe') }),
  /** Opens feature sets whose images are tagged with their nearest references; answered by {@link openedShards}. */
  z.object({
    kind: z.literal('openTagging'),
    index: z.string(),
    references: z.string(),
    /** The list of the references. */
    labels: z.string(),
    origin: tagsOrigin,
    device: z.enum(['cpu', 'cuda']),
    threads: z.number().int(),
    blockRows: z.number().int(),
    outDir: z.string(),
  }),
  /** Tags `count` rows of the index starting with `from`; answered by {@link shardAnswer}. */
  z.object({ kind: z.literal('tagShard'), index: z.number().int(), from: z.number().int(), count: z.number().int() }),
  /** Opens feature sets whose queries are voted on by their references; answered by {@link openedShards}. */
  z.object({
    kind: z.literal('openVoting'),
    queries: z.string(),
    references: z.string(),
    /** The list of the references. */
    labels: z.string(),
    origin: votesOrigin,
    device: z.enum(['cpu', 'cuda']),
    threads: z.number().int(),
    blockRows: z.number().int(),
    outDir: z.string(),
  }),
  /** Finds the votes of `count` queries starting with the row `from`; answered by {@link shardAnswer}. */
  z.object({ kind: z.literal('voteShard'), index: z.number().int(), from: z.number().int(), count: z.number().int() }),
  /** Opens a feature set that is searched in shards; answered by {@link openedShards}. */
  z.object({
    kind: z.literal('openScan'),
    queries: z.string(),
    index: z.string(),
    origin: candidatesOrigin,
    device: z.enum(['cpu', 'cuda']),
    threads: z.number().int(),
    blockRows: z.number().int(),
    outDir: z.string(),
  }),
  /** Searches `count` rows of the index starting with `from`; answered by {@link shardAnswer}. */
  z.object({ kind: z.literal('scanShard'), index: z.number().int(), from: z.number().int(), count: z.number().int() }),
  /** Searches one feature set in another, or merges what a fleet found; answered by {@link searchAnswer}. */
  z.object({
    kind: z.literal('search'),
    queries: z.string(),
    index: z.string(),
    /** The candidates of a fleet, and what they must be of: then of the feature sets only the ids are read. */
    candidates: z.object({ dir: z.string(), origin: candidatesOrigin.omit({ topK: true }) }).nullable(),
    topK: z.number().int(),
    blockRows: z.number().int(),
    threads: z.number().int(),
    out: z.string(),
  }),
  /** Searches several models together; answered by {@link rerankAnswer}. */
  z.object({
    kind: z.literal('rerank'),
    /** The folders of each model's feature sets. */
    models: z.array(
      z.object({
        name: z.string(),
        weight: z.number(),
        queries: z.string(),
        index: z.string(),
        references: z.string().nullable(),
        whitening: z.string().nullable(),
        tags: z.object({ dir: z.string(), origin: tagsOrigin }).nullable(),
        /** With tags and votes, `references` has ids alone. */
        votes: z.object({ dir: z.string(), origin: votesOrigin }).nullable(),
      }),
    ),
    /** The list of the references; null where none vote. */
    labels: z.string().nullable(),
    settings: rerankSettings,
    /** What is needed to match images; null where none are. */
    matching: z
      .object({
        imageRoot: z.string(),
        queryList: z.string(),
        indexList: z.string(),
        /** An ONNX matcher; null: SIFT. */
        matcherPath: z.string().nullable(),
        /** The interpreter with the packages of docker/trainer, and the environment of its process. */
        python: z.string(),
        env: z.record(z.string(), z.string()),
      })
      .nullable(),
    topK: z.number().int(),
    blockRows: z.number().int(),
    threads: z.number().int(),
    /** The folder for the result, and one for what is needed meanwhile. */
    out: z.string(),
    scratch: z.string(),
  }),
]);
export type ChildJob = z.infer<typeof childJob>;
export type ChildJobOf<K extends ChildJob['kind']> = Extract<ChildJob, { kind: K }>;

/** Length of the vectors. */
export const openedShards = z.object({ embeddingDim: z.number().int() });

export const shardAnswer = z.object({
  rows: z.number().int(),
  rejected: z.number().int(),
  rejectedImages: z.array(z.object({ imageId: z.string(), path: z.string(), reason: z.string() })),
  files: z.array(z.object({ name: z.string(), path: z.string(), bytes: z.number().int(), sha256: z.string() })),
  idsSha256: z.string(),
  seconds: z.object({ read: z.number(), decode: z.number(), infer: z.number(), write: z.number(), total: z.number() }),
});
export type ShardAnswer = z.infer<typeof shardAnswer>;

export const extractionAnswer = z.array(shardAnswer);

/** The file, in the folder of the journals, with the id of the image that a shard is at when it is extracted one by one. */
export const suspectFile = (index: number): string => `suspect-${index}`;
/** The journal of a shard of a set. */
export const journalFile = (set: number, index: number): string => `journal-${set}-${index}`;

export const searchAnswer = z.object({
  queries: z.number().int(),
  galleryRows: z.number().int(),
  seconds: z.object({ read: z.number(), search: z.number(), write: z.number() }),
});

export const rerankAnswer = z.object({
  queries: z.number().int(),
  references: neighboursReferences.nullable(),
  localMatching: neighboursMatching.nullable(),
  /** The images that could not be matched, or the first thousand. */
  unreadable: z.array(unreadableImage),
});

/** Images or rows done, and the total of the job or of its part `what`. */
export const childProgress = z.object({ what: z.string().optional(), done: z.number(), total: z.number() });
export type ChildProgress = z.infer<typeof childProgress>;

const childError = z.object({ code: z.string(), message: z.string(), details: z.record(z.string(), z.unknown()) });

/** Agent to child. */
export const childRequest = z.object({ id: z.number().int(), job: childJob });
/** Child to agent. `ready` comes once, when it listens. */
export const childReply = z.discriminatedUnion('type', [
  z.object({ type: z.literal('ready') }),
  z.object({ type: z.literal('progress'), id: z.number().int(), progress: childProgress }),
  z.object({ type: z.literal('done'), id: z.number().int(), answer: z.unknown() }),
  z.object({ type: z.literal('failed'), id: z.number().int(), error: childError }),
]);
export type ChildReply = z.infer<typeof childReply>;

/** An error in the form in which the child sends it; a code or a full disk is kept, anything else becomes `internal`. */
export function toChildError(error: unknown): z.infer<typeof childError> {
  if (error instanceof CairnError) return { code: error.code, message: error.message, details: error.details };
  const message = error instanceof Error ? error.message : String(error);
  const isFull = error instanceof Error && 'code' in error && error.code === 'ENOSPC';
  return { code: isFull ? 'storage_full' : 'internal', message, details: {} };
}

export function fromChildError({ code, message, details }: z.infer<typeof childError>): CairnError {
  return new CairnError(isErrorCode(code) ? code : 'internal', message, { details });
}

function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(errorTable, code);
}
