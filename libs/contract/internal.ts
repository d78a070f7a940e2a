import { z } from 'zod';
import {
  artifactFileName,
  byteCount,
  idOf,
  largestInt4,
  largestLogOffset,
  objectKeyText,
  sha256Hex,
  timestamp,
  wholeNumber,
} from './names.ts';
import { stepSettings } from './settings.ts';
import { artifactKind, attemptCause, stopCause } from './states.ts';
import { reportedDetails, reportedText, writtenText } from './text.ts';

/**
 * The protocol between pods and the control plane over /internal/v1. Messages between our own programs ignore unknown keys; the api serves
 * this protocol and the previous one, so that pods that run for days survive an upgrade. Increment it when an agent would misunderstand an
 * older or a newer control plane.
 */
export const protocol = 1;
/** The oldest supported protocol. */
export const oldestProtocol = oldestOf(protocol);

/** The header with which an agent sends its protocol in every request. Without it: protocol 1. */
export const protocolHeader = 'x-cairn-protocol';

/** The protocol to use with a peer that supports protocols up to `theirs`; null when the peer is too old. */
export function agreedProtocol(theirs: number, ours: number = protocol): number | null {
  return theirs >= oldestOf(ours) ? Math.min(theirs, ours) : null;
}

function oldestOf(newest: number): number {
  return Math.max(1, newest - 1);
}

/** A file inside the object store: `key` is its full key, `name` its name within its artifact. */
export const storedFile = z.object({
  name: artifactFileName,
  key: objectKeyText,
  bytes: byteCount,
  sha256: sha256Hex,
});
export type StoredFile = z.infer<typeof storedFile>;

/** An artifact with more files lists them only in its manifest: neither its row nor a spec lists them. */
export const maxListedFiles = 1_000;

/** An artifact that a step reads. */
export const inputArtifact = z.object({
  id: z.string(),
  kind: artifactKind,
  digest: sha256Hex,
  /** Key prefix with a trailing slash; a file's key is `prefix + name`. */
  prefix: z.string(),
  /**
   * All of them, or none where there are more than {@link maxListedFiles}: then the manifest, whose digest is the artifact's, lists them.
   */
  files: z.array(z.object({ name: z.string(), bytes: z.number().int(), sha256: sha256Hex })),
  /** Number of files; a control plane of the previous release lists all and does not send it. */
  fileCount: z.number().int().optional(),
  details: z.record(z.string(), z.unknown()),
});
export type InputArtifact = z.infer<typeof inputArtifact>;

/** Where a dataset's images and metadata are. `folder`: `root/train/a/b/c/id.jpg`; `tars`: `root/train/images_000.tar`. */
export const imageSource = z.object({
  kind: z.enum(['folder', 'tars']),
  root: z.string().min(1),
  metadata: z.string().min(1),
  countries: z.string().nullable(),
});
export type ImageSource = z.infer<typeof imageSource>;

/** The files of a dataset when it was registered. Its digest is computed from this. */
export const datasetFiles = z.object({
  /** The CSV files, imported lists (`imported/lists/clean.parquet`) and files of the countries (`countries/JP.json`) by name. */
  metadata: z.record(z.string(), z.object({ sha256: sha256Hex, bytes: z.number().int() })),
  /** For folders the SHA-256 of each split's listing (names, sizes, times); for tars the md5 of each. */
  images: z.record(z.string(), z.string()),
});
export type DatasetFiles = z.infer<typeof datasetFiles>;

/** A checkpoint of this step that a new attempt may resume from. */
export const resumePoint = z.object({
  id: z.string(),
  key: z.string(),
  bytes: z.number().int(),
  sha256: sha256Hex,
  step: z.number().int(),
  epoch: z.number(),
});
export type ResumePoint = z.infer<typeof resumePoint>;

const specBase = {
  /** The older of the two sides' protocols. */
  protocol: z.number().int().min(oldestProtocol).max(protocol),
  attempt: z.object({ id: idOf('attempt'), ordinal: z.number().int(), generation: z.number().int() }),
  run: z.object({ id: idOf('run'), name: z.string() }),
  step: z.object({ id: idOf('step'), name: z.string() }),
  /** Inputs by role: lists, start, checkpoint, model, index, query, neighbours, evaluation; of several models with their names, as `index.NAME`. */
  inputs: z.record(z.string(), inputArtifact),
  source: imageSource,
  /** Everything the attempt writes goes below this prefix (trailing slash). */
  stagingPrefix: z.string(),
  /** Newest first; empty except for training steps. */
  resume: z.array(resumePoint),
  /** An attempt reports at least this often; a shard's lease lasts this long and is renewed by every report. */
  heartbeatSeconds: z.number().positive(),
  leaseSeconds: z.number().positive(),
  /** An attempt without progress for this long hangs. */
  hangSeconds: z.number().positive(),
};

/** The work of one attempt: the response of GET /internal/v1/attempts/:id. */
export const attemptSpec = z.discriminatedUnion('kind', [
  z.object({
    ...specBase,
    kind: z.literal('prepare'),
    settings: stepSettings.prepare,
    /** The dataset's files as of the run's submission; null where an earlier version registered the dataset without them. */
    registered: datasetFiles.nullable().default(null),
  }),
  z.object({ ...specBase, kind: z.literal('train'), settings: stepSettings.train }),
  z.object({ ...specBase, kind: z.literal('export'), settings: stepSettings.export }),
  z.object({
    ...specBase,
    kind: z.literal('extract'),
    settings: stepSettings.extract,
    /** A feature set of the same model whose features are taken over where the images are the same; null for none. */
    earlier: z
      .object({
        id: idOf('artifact'),
        prefix: z.string(),
        /** The key of the list that it was extracted from. */
        listKey: z.string(),
        /** False where the images that it rejected are to be read again. */
        keepsRejected: z.boolean(),
      })
      .nullable()
      .default(null),
  }),
  z.object({ ...specBase, kind: z.literal('scan'), settings: stepSettings.scan }),
  z.object({ ...specBase, kind: z.literal('search'), settings: stepSettings.search }),
  z.object({ ...specBase, kind: z.literal('tag'), settings: stepSettings.tag }),
  z.object({ ...specBase, kind: z.literal('vote'), settings: stepSettings.vote }),
  z.object({ ...specBase, kind: z.literal('rerank'), settings: stepSettings.rerank }),
  z.object({ ...specBase, kind: z.literal('evaluate'), settings: stepSettings.evaluate }),
  z.object({ ...specBase, kind: z.literal('register'), settings: stepSettings.register }),
  /** Make the artifact of a fleet from its shards, which are all committed. It has no inputs. */
  z.object({
    ...specBase,
    kind: z.literal('finalize'),
    artifact: z.object({
      id: idOf('artifact'),
      kind: artifactKind,
      prefix: z.string(),
      createdAt: timestamp,
      details: z.record(z.string(), z.json()),
    }),
    shards: wholeNumber,
  }),
]);
export type AttemptSpec = z.infer<typeof attemptSpec>;
export type AttemptSpecOf<K extends AttemptSpec['kind']> = Extract<AttemptSpec, { kind: K }>;

/** POST /internal/v1/attempts/:id/start: the process that runs the attempt identifies itself; a second process gets `superseded`. */
export const startRequest = z.object({
  host: reportedText(255),
  pid: wholeNumber,
  /** Distinguishes two processes that claim the same attempt: random, generated once per process. */
  instance: writtenText(64, { least: 8 }),
  version: reportedText(64),
  /** Versions of the step code, by kind of step; empty from agents of releases that did not report them. */
  stepVersions: z.record(z.string().regex(/^[a-z][a-z_]{0,39}$/), wholeNumber).default({}),
});
export type StartRequest = z.infer<typeof startRequest>;

export const logStream = z.enum(['agent', 'stdout', 'stderr']);
export type LogStream = z.infer<typeof logStream>;

/** The most bytes of UTF-8 in a log chunk. */
export const logChunkBytes = 64 * 1024;

export const reportItem = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('log'),
    stream: logStream,
    offset: byteCount.max(largestLogOffset).describe('Byte offset in the stream.'),
    /** As the program wrote it: offsets count its bytes, so it is stored as bytes, unchanged. */
    text: z.string().max(logChunkBytes),
  }),
  z
    .object({
      type: z.literal('metrics'),
      name: writtenText(64, { least: 1 }),
      steps: z.array(wholeNumber).max(1000),
      values: z.array(z.number()).max(1000),
      /** Seconds since the epoch of each point. */
      times: z.array(z.number()).max(1000),
    })
    .refine(
      ({ steps, values, times }) => steps.length === values.length && steps.length === times.length,
      'each point needs a step, a value and a time',
    ),
  /** Progress of the attempt: images, steps or rows done of a total. */
  z.object({
    type: z.literal('progress'),
    done: z.number().min(0),
    total: z.number().min(0),
    unit: z.enum(['steps', 'images', 'rows', 'files']),
    /** Per second, in `rateUnit`. */
    rate: z.number().min(0).nullable(),
    /** A training stage counts optimizer steps and measures images. Defaults to `unit`, as in earlier releases. */
    rateUnit: z.enum(['images']).optional(),
    etaSeconds: z.number().min(0).nullable(),
    message: reportedText(500),
  }),
  z.object({
    type: z.literal('checkpoint'),
    key: objectKeyText,
    bytes: byteCount,
    sha256: sha256Hex,
    step: wholeNumber,
    epoch: z.number(),
    final: z.boolean(),
  }),
  /** The attempt resumes from this checkpoint of an earlier one. */
  z.object({ type: z.literal('resumed'), checkpointId: idOf('checkpoint'), step: wholeNumber, epoch: z.number() }),
  z.object({ type: z.literal('evaluation'), when: z.enum(['start', 'epoch', 'end']), step: wholeNumber, mapAt100: z.number() }),
  z.object({ type: z.literal('badImage'), imageId: reportedText(200), path: reportedText(1000), reason: reportedText(1000) }),
  z.object({ type: z.literal('note'), level: z.enum(['info', 'warning']), message: reportedText(4000, { lines: true }) }),
]);
export type ReportItem = z.infer<typeof reportItem>;

/** The most reports of an attempt: one per second for 48 days. Chunks of metrics are numbered per report within PostgreSQL's `integer`. */
const maxReports = Math.floor(largestInt4 / 512) - 1;

/** POST /internal/v1/attempts/:id/reports. Ordered: `seq` counts from 1; a repeated report is answered and not applied again. */
export const reportRequest = z.object({ seq: wholeNumber.min(1).max(maxReports), at: timestamp, items: z.array(reportItem).max(500) });
export type ReportRequest = z.infer<typeof reportRequest>;

/** The answer to every report says whether to continue. `stop`: save what can be saved within the grace period, then end. */
export const reportReply = z.object({
  directive: z.enum(['continue', 'stop']),
  /** Decides how the attempt ends; null when the control plane sends none, or one that this release does not know. */
  cause: stopCause.nullable().catch(null),
  /** For people. Agents that do not know `cause` take a reason that begins with `cancel` for a cancellation. */
  reason: z.string().nullable(),
  graceSeconds: z.number(),
});
export type ReportReply = z.infer<typeof reportReply>;

/**
 * POST /internal/v1/attempts/:id/shards/claim. A shard that is leased to the attempt and not in `holding` comes first: the answer was lost,
 * or the process that held it ended.
 */
export const claimRequest = z.object({
  /** Indexes of the shards that the worker is working on, one per GPU. */
  holding: z.array(wholeNumber).max(1024).default([]),
});
export type ClaimRequest = z.infer<typeof claimRequest>;

/** The answer to a claim. `from` and `count` are in distinct ids of the list, in order of first appearance, or in rows of the feature set. */
export const shardClaim = z.object({
  shard: z
    .object({
      index: z.number().int(),
      from: z.number().int(),
      count: z.number().int(),
      tries: z.number().int(),
      /** The prefix below which its last holder kept what it had finished; null for none. */
      resumeFrom: z.string().nullable().default(null),
    })
    .nullable(),
  /** True when every shard is committed: the attempt ends. */
  done: z.boolean(),
  /** When no shard is free but not all are committed (others hold leases): ask again after this long. */
  retryAfterSeconds: z.number(),
});
export type ShardClaim = z.infer<typeof shardClaim>;

/** POST /internal/v1/attempts/:id/shards/:index/commit. */
/** How a shard of an extraction was computed. */
export const shardWork = z.object({
  /** Of its images, as far as they were read. */
  bytesRead: byteCount,
  /** The name of the GPU or CPU. */
  device: reportedText(200),
  /** Of the programs that computed, by name. */
  versions: z.record(reportedText(64), reportedText(64)),
});
export type ShardWork = z.infer<typeof shardWork>;

export const shardCommit = z.object({
  rows: wholeNumber,
  rejected: wholeNumber,
  /** Named by `partFile`: vectors and ids, and the rejected images where there are any. */
  files: z.array(storedFile).max(16),
  /**
   * SHA-256 over the shard's ids in the order of the list or the feature set, each followed by a newline: the worker read back what it wrote and found exactly
   * these ids, each once. Null from a worker of the previous release, which did not check.
   */
  idsSha256: sha256Hex.nullable().default(null),
  /** Seconds spent in each phase. */
  seconds: z.object({ read: z.number(), decode: z.number(), infer: z.number(), write: z.number() }),
  /** Absent in those of other fleets, and from a worker of the previous release. */
  work: shardWork.optional(),
});
export type ShardCommit = z.infer<typeof shardCommit>;

/**
 * GET /internal/v1/attempts/:id/shards/files?from=INDEX: for an attempt that finalizes, the staged files of committed shards in order. A
 * page covers at most {@link stagedShardsPerPage} shards, starting with the shard `from`.
 */
export const stagedFilesPage = z.object({
  shards: z.array(z.object({ index: wholeNumber, files: z.array(storedFile) })),
  /** Null after the last shard. */
  next: wholeNumber.nullable(),
});
export type StagedFilesPage = z.infer<typeof stagedFilesPage>;
export const stagedShardsPerPage = 256;

/** How an attempt ended, as its program reports it, with its last output. */
export const reportedMessage = reportedText(8000, { lines: true });

/** A failure as a program or an executor reports it. */
export const reportedFailure = z.object({ cause: attemptCause, code: reportedText(64), message: reportedMessage });

/** POST /internal/v1/attempts/:id/finish. Idempotent: the same outcome twice gets the same answer. */
export const finishRequest = z.discriminatedUnion('outcome', [
  z.object({ outcome: z.literal('succeeded'), files: z.array(storedFile).max(10_000), details: reportedDetails }),
  reportedFailure.extend({
    outcome: z.literal('failed'),
    /**
     * From an attempt that finalizes: shards whose staged files are missing or differ from what was committed. They are extracted again.
     */
    badShards: z.array(wholeNumber).max(100_000).optional(),
  }),
  z.object({ outcome: z.literal('preempted'), message: reportedMessage }),
  z.object({ outcome: z.literal('cancelled'), message: reportedMessage }),
]);
export type FinishRequest = z.infer<typeof finishRequest>;

/** The exit code for an invalid configuration, where a restart without a change cannot help: EX_CONFIG of sysexits.h. */
export const configurationExit = 78;

/** Reserved exit codes of the agent's process, for an executor that sees only the code. */
export const agentExit = { ok: 0, failed: 1, configuration: configurationExit, superseded: 79, preempted: 75 } as const;
