import {
  type AloneIdentity,
  type AlonePlan,
  aloneImagesFile,
  alonePlan,
  CairnError,
  isCairnError,
  type ShardCommit,
  shardCommit,
} from '@cairn/contract';
import { canonicalJson, sha256Json } from '@cairn/runtime';
import { type ObjectStore, readManifest } from '@cairn/storage';
import type { FleetClient } from '../fleet/run-shards.ts';

/** The folder of an unfinished set: its plan, its parts, and the commits of its shards. */
export const partsFolder = (prefix: string): string => `${prefix}/parts`;
const probeKey = (prefix: string): string => `${partsFolder(prefix)}/probe`;
const planKey = (prefix: string): string => `${partsFolder(prefix)}/plan.json`;
export const planListKey = (prefix: string): string => `${partsFolder(prefix)}/plan.parquet`;
const commitKey = (prefix: string, index: number): string => `${partsFolder(prefix)}/commits/${String(index).padStart(5, '0')}.json`;

type Manifest = Awaited<ReturnType<typeof readManifest>>;

/** `before`: the complete set that an unfinished one will replace. */
export type FoundSet =
  | { state: 'none' }
  | { state: 'unfinished'; plan: AlonePlan; before: Manifest | null }
  | { state: 'complete'; manifest: Manifest }
  /** A complete set of another list, by the same model from the same source. */
  | { state: 'other list'; manifest: Manifest };

/**
 * What is at the place of a set.
 *
 * @throws CairnError `name_taken` for anything that is neither this extraction nor one of another list; of another one, with both digests
 */
export async function findSet(store: ObjectStore, prefix: string, identity: AloneIdentity, signal: AbortSignal): Promise<FoundSet> {
  const digest = sha256Json(identity);
  const refuse = (found: string, what: string): CairnError =>
    new CairnError(
      'name_taken',
      `${store.url} has ${what} in ${prefix}, of the extraction ${found}; this one is ${digest}. Choose another --out, or remove it`,
      { details: { prefix, found, expected: digest } },
    );
  const manifest = await readManifest(store, prefix, signal).catch((error: unknown) => {
    if (isCairnError(error, 'not_found')) return null;
    throw error;
  });
  const plan = await readJson(store, planKey(prefix), alonePlan, signal);
  if (plan !== null) {
    if (plan.digest !== digest) throw refuse(plan.digest, 'the parts of another feature set');
    return { state: 'unfinished', plan, before: manifest };
  }
  if (manifest !== null) {
    const found = String(manifest.details.extraction ?? 'of a run');
    if (found === digest) return { state: 'complete', manifest };
    if (!isOfSameModel(manifest, identity)) throw refuse(found, 'another feature set');
    return { state: 'other list', manifest };
  }
  for await (const { key } of store.list(prefix, signal)) {
    // An earlier run was killed before its plan was complete.
    if (key === planListKey(prefix) || key === probeKey(prefix)) continue;
    throw new CairnError('name_taken', `${prefix} in ${store.url} is not empty (it has ${key}): choose another --out`, {
      details: { key },
    });
  }
  return { state: 'none' };
}

/** Whether the features of a complete set can be taken over: only the list differs, and the set has its images with their files. */
export function isOfSameModel(manifest: Manifest, identity: AloneIdentity): boolean {
  const same = (['model', 'preprocessing', 'imageSize', 'source'] as const).every((key) => manifest.details[key] === identity[key]);
  return same && hasImages(manifest);
}

/** Whether a set has the list of its images with their files. */
export const hasImages = ({ files }: Manifest): boolean => files.some(({ name }) => name === aloneImagesFile);

/**
 * Says before hours of planning whether the set can be written.
 *
 * @throws CairnError `storage_full`, `storage_failed`
 */
export async function tryWriting(store: ObjectStore, prefix: string, signal: AbortSignal): Promise<void> {
  try {
    await store.put(probeKey(prefix), 'writable', { signal });
    await store.remove(probeKey(prefix), signal);
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof CairnError || !(error instanceof Error)) throw error;
    throw new CairnError('storage_failed', `${prefix} cannot be written in ${store.url}: ${error.message}`, { cause: error });
  }
}

/** Removes the parts of a set, the plan first: without it they count as nothing. */
export async function removeParts(store: ObjectStore, prefix: string, signal: AbortSignal): Promise<void> {
  await store.remove(planKey(prefix), signal);
  await store.removePrefix(partsFolder(prefix), signal);
}

export async function storePlan(store: ObjectStore, prefix: string, plan: AlonePlan, signal: AbortSignal): Promise<void> {
  await store.put(planKey(prefix), canonicalJson(plan), { signal });
}

export type Ledger = {
  shards: number;
  shardRows: number;
  images: number;
  commits: ReadonlyMap<number, ShardCommit>;
  commit(index: number, commit: ShardCommit): Promise<void>;
  /** Lets a shard be extracted again. */
  drop(index: number): Promise<void>;
};

/** The shards of a plan and what became of them: commits are objects. */
export async function openLedger(store: ObjectStore, prefix: string, plan: AlonePlan, signal: AbortSignal): Promise<Ledger> {
  const { images, shardRows } = plan;
  const shards = Math.ceil(images / shardRows);
  const commits = new Map<number, ShardCommit>();
  for await (const { key } of store.list(`${partsFolder(prefix)}/commits`, signal)) {
    const index = Number(/(\d+)\.json$/.exec(key)?.[1]);
    const commit = await readJson(store, key, shardCommit, signal);
    if (commit !== null && index < shards) commits.set(index, commit);
  }
  return {
    ...{ shards, shardRows, images, commits },
    async commit(index, commit) {
      await store.put(commitKey(prefix, index), canonicalJson(commit), { signal });
      commits.set(index, commit);
    },
    async drop(index) {
      await store.remove(commitKey(prefix, index), signal);
      commits.delete(index);
    },
  };
}

/** The shards of several sets of one plan in the place of the control plane: one process claims. A shard is done when every set has it. */
export function claimsOf(ledgers: readonly Ledger[], resumeFrom: string): { client: FleetClient; setsOf(index: number): number[] } {
  const [{ shards, shardRows, images }] = ledgers as [Ledger];
  const tries = new Map<number, number>();
  const claimed = new Set<number>();
  /** The sets that lack a shard. */
  const lacking = (index: number): number[] => ledgers.flatMap(({ commits }, set) => (commits.has(index) ? [] : [set]));
  /** What was lacking when a shard was claimed: answers are for these sets, whatever was committed in between. */
  const wanted = new Map<number, number[]>();
  const setsOf = (index: number): number[] => wanted.get(index) ?? lacking(index);
  return {
    setsOf,
    client: {
      async claimShard() {
        const open = Array.from({ length: shards }, (_, index) => index).filter((index) => lacking(index).length > 0);
        const index = open.find((one) => !claimed.has(one));
        if (index === undefined) return { shard: null, done: open.length === 0, retryAfterSeconds: 1 };
        claimed.add(index);
        wanted.set(index, lacking(index));
        tries.set(index, (tries.get(index) ?? 0) + 1);
        const from = index * shardRows;
        const shard = { index, from, count: Math.min(shardRows, images - from), tries: tries.get(index) ?? 1, resumeFrom };
        return { shard, done: false, retryAfterSeconds: 0 };
      },
      async commitShard(index, commits) {
        for (const [at, set] of setsOf(index).entries()) {
          const commit = commits[at];
          if (commit !== undefined) await ledgers[set]?.commit(index, commit);
        }
        claimed.delete(index);
        wanted.delete(index);
      },
      async releaseShard(index) {
        claimed.delete(index);
        wanted.delete(index);
      },
    },
  };
}

async function readJson<T>(store: ObjectStore, key: string, schema: { parse(value: unknown): T }, signal: AbortSignal): Promise<T | null> {
  const bytes = await store.getBytes(key, { signal }).catch((error: unknown) => {
    if (isCairnError(error, 'not_found')) return null;
    throw error;
  });
  if (bytes === null) return null;
  try {
    return schema.parse(JSON.parse(bytes.toString('utf8')));
  } catch (cause) {
    throw new CairnError('corrupt_artifact', `${key} in ${store.url} cannot be read: remove it and run the command again`, { cause });
  }
}
