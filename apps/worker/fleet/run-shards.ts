import { rm } from 'node:fs/promises';
import type { InternalClient } from '@cairn/client';
import { CairnError, type FinishRequest, isCairnError, type ShardClaim } from '@cairn/contract';
import { sleep, untilAborted } from '@cairn/runtime';
import type { AttemptContext } from '../agent/attempt-context.ts';
import { type UploadContext, uploadFile } from '../agent/stored-files.ts';
import { type ChildJob, openedShards, type ShardAnswer, shardAnswer } from '../child/messages.ts';
import { type Child, type ChildContext, ChildEndedError, startChild } from '../child/start-child.ts';
import { fleetProgress } from './fleet-progress.ts';

/** An attempt, or an extraction of this machine alone, whose client claims and commits without a control plane. */
export type FleetContext = Pick<AttemptContext, 'stop' | 'log'> &
  ChildContext &
  UploadContext & { client: Pick<InternalClient, 'claimShard' | 'commitShard' | 'releaseShard'> };
type Shard = NonNullable<ShardClaim['shard']>;

/** What the children of a fleet's worker do. */
export type FleetWork = {
  context: FleetContext;
  /** One child for each: a GPU's number, or null for the CPU. */
  places: readonly (number | null)[];
  /** Images of all shards. */
  total: number;
  /** The first job of a child: opens what its shards share. */
  open: (device: 'cpu' | 'cuda') => ChildJob;
  /** The job of a shard. */
  shard: (shard: Shard) => ChildJob;
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
    places.map((gpu) =>
      runPlace({ ...work, gpu, progress, shards, halted }).catch((error: unknown) => {
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

/** The shards that this attempt holds. Claims are serialized: each sends what earlier ones got, or two places would get the same shard. */
function openShards({ client }: FleetContext, halted: AbortSignal) {
  const held = new Set<number>();
  let last: Promise<unknown> = Promise.resolve();
  return {
    claim(): Promise<ShardClaim> {
      const turn = last.then(async () => {
        halted.throwIfAborted();
        const claim = await untilAborted(client.claimShard({ holding: [...held] }), halted);
        if (claim.shard !== null) held.add(claim.shard.index);
        return claim;
      });
      last = turn.catch(() => undefined);
      return turn;
    },
    /** It was committed or released. */
    left: (index: number) => void held.delete(index),
  };
}

type Place = FleetWork & {
  /** Null on a CPU. */
  gpu: number | null;
  progress: ReturnType<typeof fleetProgress>;
  shards: ReturnType<typeof openShards>;
  /** No new shard, and the current one is released. */
  halted: AbortSignal;
};

/** One child and its shards, one at a time, until none are left. Rejects with `halted`'s reason, or with the failure. */
async function runPlace(place: Place): Promise<void> {
  const { context, halted, shards } = place;
  let child: Child | null = null;
  let crashes = 0;
  try {
    for (;;) {
      const { shard, done, retryAfterSeconds } = await shards.claim();
      if (shard === null && done) return;
      if (shard === null) {
        await sleep(Math.max(minWaitMs, retryAfterSeconds * 1000), halted);
        continue;
      }
      try {
        child ??= await openChild(place);
        await doShard(child, shard, place);
        crashes = 0;
      } catch (error) {
        await releaseShard(context, shard);
        if (!(error instanceof ChildEndedError)) throw error;
        crashes += 1;
        await child?.kill();
        child = null;
        if (crashes > maxCrashes) {
          throw new CairnError('program_failed', `Shard ${shard.index}: ${error.message} (${crashes} times)`, { cause: error });
        }
        const message = `Shard ${shard.index} was released: ${error.message}`;
        context.reporter.report({ type: 'note', level: 'warning', message });
      } finally {
        shards.left(shard.index);
      }
    }
  } finally {
    await child?.kill();
  }
}

async function openChild({ context, open, env, gpu }: Place): Promise<Child> {
  const child = startChild(context, { ...env, ...(gpu === null ? {} : { CUDA_VISIBLE_DEVICES: String(gpu) }) });
  try {
    await child.ask(open(gpu === null ? 'cpu' : 'cuda'), openedShards);
    return child;
  } catch (error) {
    await child.kill();
    throw error;
  }
}

/** Computes a shard, stores its parts and commits it. A shard whose lease was lost in the meantime belongs to another attempt: it is dropped. */
async function doShard(child: Child, shard: Shard, { context, shard: jobOf, progress, halted }: Place): Promise<void> {
  const { index } = shard;
  try {
    const asked = child.ask(jobOf(shard), shardAnswer, ({ done }) => progress.moved(index, done));
    const answer = await untilAborted(asked, halted);
    await storeShard(context, index, answer);
    progress.stored(index, answer);
  } catch (error) {
    progress.left(index);
    if (!isCairnError(error, 'lease_lost')) throw error;
    const message = `Shard ${index} was given to another attempt and is dropped here`;
    context.reporter.report({ type: 'note', level: 'warning', message });
  }
}

/** On a stop, storing may use the rest of the grace period: the work is done, and another attempt would repeat it. */
async function storeShard(context: FleetContext, index: number, answer: ShardAnswer): Promise<void> {
  const { rows, rejected, files, idsSha256, seconds } = answer;
  const { client, stop, reporter } = context;
  const late = new AbortController();
  const endInTime = () => {
    setTimeout(() => late.abort(stop.asked.reason), Math.max(0, stop.remainingMs() - reserveMs)).unref();
  };
  if (stop.asked.aborted) endInTime();
  stop.asked.addEventListener('abort', endInTime, { once: true });
  const signal = AbortSignal.any([stop.ended, late.signal]);
  try {
    reportRejected(context, index, answer);
    if (rejected > 0) await untilAborted(reporter.flush(), signal);
    const stored = [];
    for (const file of files) {
      const upload = await uploadFile(context, file.name, { file: file.path }, { signal });
      // The stored file must be the one that was verified.
      if (upload.sha256 !== file.sha256)
        throw new CairnError('storage_failed', `${file.path} changed after it was written and before it was stored: check the disk`);
      stored.push(upload);
    }
    const { read, decode, infer, write } = seconds;
    const commit = { rows, rejected, files: stored, idsSha256, seconds: { read, decode, infer, write } };
    await untilAborted(client.commitShard(index, commit), signal);
  } finally {
    stop.asked.removeEventListener('abort', endInTime);
    for (const { path } of files) await rm(path, { force: true });
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
