import { type AloneIdentity, type AlonePlan, alonePlan, CairnError, isCairnError, type ShardCommit, shardCommit } from '@cairn/contract';
import { canonicalJson, sha256Json } from '@cairn/runtime';
import { type ObjectStore, readManifest } from '@cairn/storage';
import type { FleetContext } from '../fleet/run-shards.ts';

/** The folder of an unfinished set: its plan, its parts, and the commits of its shards. */
export const partsFolder = (prefix: string): string => `${prefix}/parts`;
const probeKey = (prefix: string): string => `${partsFolder(prefix)}/probe`;
const planKey = (prefix: string): string => `${partsFolder(prefix)}/plan.json`;
export const planListKey = (prefix: string): string => `${partsFolder(prefix)}/plan.parquet`;
const commitKey = (prefix: string, index: number): string => `${partsFolder(prefix)}/commits/${String(index).padStart(5, '0')}.json`;

export type FoundSet = { state: 'none' } | { state: 'unfinished'; plan: AlonePlan } | { state: 'complete' };

/**
 * What is at the place of a set.
 *
 * @throws CairnError `name_taken` for anything that is not this extraction; of another one, with both digests
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
  if (manifest !== null) {
    const found = String(manifest.details.extraction ?? 'of a run');
    if (found !== digest) throw refuse(found, 'another feature set');
    return { state: 'complete' };
  }
  const plan = await readJson(store, planKey(prefix), alonePlan, signal);
  if (plan !== null) {
    if (plan.digest !== digest) throw refuse(plan.digest, 'the parts of another feature set');
    return { state: 'unfinished', plan };
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

export async function storePlan(store: ObjectStore, prefix: string, plan: AlonePlan, signal: AbortSignal): Promise<void> {
  await store.put(planKey(prefix), canonicalJson(plan), { signal });
}

export type Ledger = {
  client: FleetContext['client'];
  shards: number;
  commits: ReadonlyMap<number, ShardCommit>;
};

/** The shards of a plan and their states, in place of the control plane: one process claims, and commits are objects. */
export async function openLedger(store: ObjectStore, prefix: string, plan: AlonePlan, signal: AbortSignal): Promise<Ledger> {
  const { images, shardRows } = plan;
  const shards = Math.ceil(images / shardRows);
  const commits = new Map<number, ShardCommit>();
  for await (const { key } of store.list(`${partsFolder(prefix)}/commits`, signal)) {
    const index = Number(/(\d+)\.json$/.exec(key)?.[1]);
    const commit = await readJson(store, key, shardCommit, signal);
    if (commit !== null && index < shards) commits.set(index, commit);
  }
  const tries = new Map<number, number>();
  const claimed = new Set<number>();

  const client: Ledger['client'] = {
    async claimShard() {
      const index = Array.from({ length: shards }, (_, n) => n).find((n) => !commits.has(n) && !claimed.has(n));
      if (index === undefined) return { shard: null, done: commits.size === shards, retryAfterSeconds: 1 };
      claimed.add(index);
      tries.set(index, (tries.get(index) ?? 0) + 1);
      const from = index * shardRows;
      const shard = { index, from, count: Math.min(shardRows, images - from), tries: tries.get(index) ?? 1 };
      return { shard, done: false, retryAfterSeconds: 0 };
    },
    async commitShard(index, commit) {
      await store.put(commitKey(prefix, index), canonicalJson(commit), { signal });
      commits.set(index, commit);
      claimed.delete(index);
    },
    async releaseShard(index) {
      claimed.delete(index);
    },
  };
  return { client, shards, commits };
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
