import { rm } from 'node:fs/promises';
import type { InternalClient } from '@cairn/client';
import { CairnError, type FinishRequest, isCairnError, type ShardCommit, type StoredFile } from '@cairn/contract';
import { sleep, untilAborted } from '@cairn/runtime';
import type { z } from 'zod';
import type { AttemptContext } from '../agent/attempt-context.ts';
import { type UploadContext, uploadFile } from '../agent/stored-files.ts';
import { type ChildJob, type ChildProgress, openedShards, type ShardAnswer } from '../child/messages.ts';
import { type Child, type ChildContext, ChildEndedError, startChild } from '../child/start-child.ts';
import { fleetProgress } from './fleet-progress.ts';
import { type HeldShard, type HeldShards, openShards, type Shard } from './held-shards.ts';

/** An attempt, or an extraction of this machine alone, whose client claims and commits without a control plane. */
export type FleetContext = Pick<AttemptContext, 'stop' | 'log'> &
  ChildContext &
  UploadContext & {
    client: FleetClient;
    /** Time after which a slow shard is given to an idle place too, at the least. */
    stragglerMs?: number;
  };

/** Claims and commits. What is committed of a shard is one commit for each of its feature sets; a run has one. */
export type FleetClient = Pick<InternalClient, 'claimShard' | 'releaseShard'> & {
  commitShard(index: number, commits: readonly ShardCommit[]): Promise<void>;
};

/** Has the child of a place do a job; a new child is started if there is none. */
export type AskChild = <T>(job: ChildJob, answer: z.ZodType<T>, onProgress?: (progress: ChildProgress) => void) => Promise<T>;

/** A shard that a place computes. */
export type Computing = {
  shard: Shard;
  ask: AskChild;
  /** The number of the place. */
  place: number;
  /** Another place has it too. */
  isBackup: boolean;
  /** Images that are done. */
  onProgress: (progress: ChildProgress) => void;
  /** Aborted when the result is not needed any more. */
  signal: AbortSignal;
};

/** What the children of a fleet's worker do. */
export type FleetWork = {
  context: FleetContext;
  /** One child for each: a GPU's number, or null for the CPU. */
  places: readonly (number | null)[];
  /** Images of all shards. */
  total: number;
  /** The first job of the child of a place: opens what its shards share. */
  open: (device: 'cpu' | 'cuda', place: number) => ChildJob;
  /** Computes a shard: an answer for each of its feature sets. */
  compute: (computing: Computing) => Promise<ShardAnswer[]>;
  /** Cleans up after a shard that was committed. */
  committed?: (shard: Shard) => Promise<void>;
  /** The prefix of the files of each set, below that of the attempt; by default one set without a prefix. */
  prefixes?: (shard: Shard) => readonly string[];
  /** Further environment of the children. */
  env?: Readonly<Record<string, string>>;
};

/** A child that crashes this often, without a shard done in between, does not crash by accident. */
const maxCrashes = 3;
/** This much of the grace period is kept for releasing the shards. */
const reserveMs = 2000;
const minWaitMs = 50;

/** The GPUs of the attempt, or the CPU. */
export const placesOf = ({ gpus }: Pick<AttemptContext, 'gpus'>): (number | null)[] =>
  gpus === 0 ? [null] : Array.from({ length: gpus }, (_, gpu) => gpu);

/** The commits of a control plane, which knows of one set. */
export const fleetClientOf = (client: InternalClient): FleetClient => ({
  claimShard: (request) => client.claimShard(request),
  releaseShard: (index) => client.releaseShard(index),
  async commitShard(index, commits) {
    for (const commit of commits) await client.commitShard(index, commit);
  },
});

/**
 * One worker of a fleet: claims shard after shard until all are committed. It computes in child processes, one per GPU,
 * because ONNX Runtime blocks the event loop; this process renews the lease with its reports, stores the parts and commits them.
 */
export async function runShards(work: FleetWork): Promise<FinishRequest> {
  const { context, places } = work;
  const { stop } = context;
  const progress = fleetProgress(context.reporter, work.total);
  // When one place fails the others end too; each releases the shard it holds.
  const failed = new AbortController();
  const halted = AbortSignal.any([stop.asked, failed.signal]);
  const shards = openShards(context, halted);
  const results = await Promise.allSettled(
    places.map((gpu, number) =>
      runPlace({ ...work, gpu, number, progress, shards, halted }).catch((error: unknown) => {
        failed.abort(error);
        throw error;
      }),
    ),
  );
  stop.ended.throwIfAborted();
  if (stop.asked.aborted) return stop.outcome(`stopped after ${progress.shards()} shards`);
  const failure = results.find((result) => result.status === 'rejected');
  if (failure !== undefined) throw failed.signal.reason;
  return { outcome: 'succeeded', files: [], details: {} };
}

type Place = FleetWork & {
  /** Null on a CPU. */
  gpu: number | null;
  number: number;
  progress: ReturnType<typeof fleetProgress>;
  shards: HeldShards;
  /** No new shard, and the current one is released. */
  halted: AbortSignal;
};

/** One child and its shards, one at a time, until none are left. Rejects with `halted`'s reason, or with the failure. */
async function runPlace(place: Place): Promise<void> {
  const { context, halted, shards } = place;
  const child = childOfPlace(place);
  let crashes = 0;
  try {
    for (;;) {
      const { held, done, retryAfterSeconds } = await shards.claim();
      if (held === null && done) return;
      if (held === null) {
        await sleep(Math.max(minWaitMs, retryAfterSeconds * 1000), halted);
        continue;
      }
      const { index } = held.shard;
      try {
        await doShard(child.ask, held, place);
        crashes = 0;
      } catch (error) {
        // Another place has committed it: what this one computes is not needed any more.
        if (held.over.signal.aborted && !halted.aborted) {
          await child.end();
          continue;
        }
        if (shards.isLast(held)) await releaseShard(context, held.shard);
        if (!(error instanceof ChildEndedError)) throw error;
        crashes += 1;
        if (crashes > maxCrashes) {
          throw new CairnError('program_failed', `Shard ${index}: ${error.message} (${crashes} times)`, { cause: error });
        }
        note(context, `Shard ${index} was released: ${error.message}`);
      } finally {
        shards.left(held);
      }
    }
  } finally {
    await child.end();
  }
}

function note({ reporter }: FleetContext, message: string): void {
  reporter.report({ type: 'note', level: 'warning', message: message.slice(0, 4000) });
}

/** The child of a place: started when it is asked, again when it has ended. */
function childOfPlace({ context, open, env, gpu, number }: Place): { ask: AskChild; end(): Promise<void> } {
  let child: Child | null = null;

  async function end(): Promise<void> {
    const ending = child;
    child = null;
    await ending?.kill();
  }

  async function start(): Promise<Child> {
    const started = startChild(context, { ...env, ...(gpu === null ? {} : { CUDA_VISIBLE_DEVICES: String(gpu) }) });
    try {
      await started.ask(open(gpu === null ? 'cpu' : 'cuda', number), openedShards);
      return started;
    } catch (error) {
      await started.kill();
      throw error instanceof ChildEndedError ? error.whileOpening() : error;
    }
  }

  return {
    async ask(job, answer, onProgress) {
      child ??= await start();
      try {
        return await child.ask(job, answer, onProgress);
      } catch (error) {
        if (error instanceof ChildEndedError) await end();
        throw error;
      }
    },
    end,
  };
}

/**
 * Computes a shard, stores its parts and commits it. A shard whose lease was lost in the meantime belongs to another attempt, and one that
 * another place was faster with is committed: both are dropped.
 */
async function doShard(ask: AskChild, held: HeldShard, place: Place): Promise<void> {
  const { context, compute, committed, progress, halted, number, prefixes } = place;
  const { shard, isBackup } = held;
  const { index } = shard;
  const began = performance.now();
  try {
    const onProgress = ({ done }: ChildProgress): void => void (isBackup || progress.moved(index, done));
    const signal = AbortSignal.any([halted, held.over.signal]);
    const answers = await untilAborted(compute({ shard, ask, place: number, isBackup, onProgress, signal }), signal);
    await held.storeOnce(async () => {
      await storeShard(context, index, answers, prefixes?.(shard) ?? ['']);
      await committed?.(shard);
      place.shards.took(performance.now() - began);
      progress.stored(index, answers);
    });
  } catch (error) {
    if (!isBackup) progress.left(index);
    if (!isCairnError(error, 'lease_lost')) throw error;
    note(context, `Shard ${index} was given to another attempt and is dropped here`);
  }
}

/** On a stop, storing may use the rest of the grace period: the work is done, and another attempt would repeat it. */
async function storeShard(
  context: FleetContext,
  index: number,
  answers: readonly ShardAnswer[],
  prefixes: readonly string[],
): Promise<void> {
  const { client, stop, reporter } = context;
  const late = new AbortController();
  const endInTime = () => {
    setTimeout(() => late.abort(stop.asked.reason), Math.max(0, stop.remainingMs() - reserveMs)).unref();
  };
  if (stop.asked.aborted) endInTime();
  stop.asked.addEventListener('abort', endInTime, { once: true });
  const signal = AbortSignal.any([stop.ended, late.signal]);
  try {
    const [first] = answers;
    if (first !== undefined) reportRejected(context, index, first);
    if (first !== undefined && first.rejected > 0) await untilAborted(reporter.flush(), signal);
    const commits: ShardCommit[] = [];
    for (const [set, { rows, rejected, files, idsSha256, seconds, work }] of answers.entries()) {
      const stored: StoredFile[] = [];
      for (const file of files) {
        const upload = await uploadFile(context, `${prefixes[set] ?? ''}${file.name}`, { file: file.path }, { signal });
        // The stored file must be the one that was verified.
        if (upload.sha256 !== file.sha256)
          throw new CairnError('storage_failed', `${file.path} changed after it was written and before it was stored: check the disk`);
        stored.push({ ...upload, name: file.name });
      }
      const { read, decode, infer, write } = seconds;
      commits.push({ rows, rejected, files: stored, idsSha256, seconds: { read, decode, infer, write }, ...(work && { work }) });
    }
    await untilAborted(client.commitShard(index, commits), signal);
  } finally {
    stop.asked.removeEventListener('abort', endInTime);
    for (const { path } of answers.flatMap(({ files }) => files)) await rm(path, { force: true });
  }
}

/** How many images a note of the run's history names. */
const maxNamed = 10;

/**
 * Names the images that a shard left out: all in the log, the first ones in the run's history. Reported before the shard is committed,
 * because too many of them fail the step at its last commit, after which no report is accepted.
 */
function reportRejected({ reporter, log }: FleetContext, index: number, { rows, rejectedImages: images }: ShardAnswer): void {
  if (images.length === 0) return;
  for (const image of images) log.warn(image, 'an image cannot be read and is left out');
  const named = images.slice(0, maxNamed).map(({ path, reason }) => `${path} (${reason})`);
  const more = images.length > maxNamed ? [`and ${images.length - maxNamed} more, listed in the log`] : [];
  const message = `Shard ${index}: ${images.length} of ${rows + images.length} images cannot be read and are left out: ${[...named, ...more].join(', ')}`;
  reporter.report({ type: 'note', level: 'warning', message: message.slice(0, 4000) });
}

/** Releases a shard, so that others need not wait for the end of its lease; does not wait for a control plane that is away. */
async function releaseShard({ client, stop, log }: FleetContext, { index }: Pick<Shard, 'index'>): Promise<void> {
  if (stop.ended.aborted) return;
  try {
    await Promise.race([client.releaseShard(index), sleep(reserveMs)]);
  } catch (error) {
    if (!isCairnError(error, 'lease_lost')) log.warn({ err: error }, `shard ${index} could not be released`);
  }
}
