import { appendFile, mkdir, open, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { isCairnError } from '@cairn/contract';
import { journalFile } from '../child/messages.ts';
import type { Shard } from '../fleet/held-shards.ts';
import type { FleetContext } from '../fleet/run-shards.ts';
import { type ShardCrashes, shardCrashes } from './compute-shard.ts';

/** Where the parts of a shard's journal are, below the prefix of an attempt: their names are the offsets of their bytes. */
const partsOf = (prefix: string, set: number, index: number): string => `${prefix}partial/${set}/${numbered(index)}`;
/** Where it is said how often the shard has ended a child. */
const crashesKey = (prefix: string, index: number): string => `${prefix}partial/crashes/${numbered(index)}`;
const numbered = (index: number): string => String(index).padStart(5, '0');
const offsetDigits = 12;
/** A part is read into memory. */
const mostPartBytes = 2 ** 26;

export type BatchKeeper = {
  /** Fetches what an earlier holder of the shard had stored of it, and returns what the shard has done to its children. */
  fetch(shard: Shard): Promise<ShardCrashes | null>;
  /** Stores what is new in the journals of the shard, if the last time was long enough ago. Never fails. */
  keep(index: number): void;
  /** Stores what the shard does to its children. Never fails. */
  remember(index: number, crashes: ShardCrashes): Promise<void>;
  /** Waits for what is being stored. */
  settle(): Promise<void>;
  /** Removes all that is stored of a shard that was committed. Never fails. */
  discard(index: number): Promise<void>;
};

type KeeperOptions = {
  context: Pick<FleetContext, 'store' | 'log' | 'stop'>;
  /** The prefix of this worker, with a trailing slash. */
  prefix: string;
  /** The folder of the journals. */
  folder: string;
  sets: readonly number[];
  /** The least time between two parts. */
  everyMs: number;
};

/**
 * Keeps the finished batches of a shard in the object storage, in parts of its journal: after a kill of the whole worker another one goes on
 * from there. Parts are written only below the prefix of the attempt, and read from that of the earlier holder, so two attempts never
 * write the same; the records have digests, so a missing or changed part only means that its batches are computed again.
 */
export function keepBatches({ context, prefix: own, folder, sets, everyMs }: KeeperOptions): BatchKeeper {
  const { store, log, stop } = context;
  const stored = new Map<string, number>();
  /** The objects of each shard, this worker's and those of the last holder. */
  const keys = new Map<number, Set<string>>();
  let last = performance.now();
  let turn: Promise<void> = Promise.resolve();

  function noteKey(index: number, key: string): void {
    keys.set(index, (keys.get(index) ?? new Set()).add(key));
  }

  async function fetchJournal(prefix: string, set: number, index: number): Promise<void> {
    const path = join(folder, journalFile(set, index));
    if (await isFile(path)) return;
    const from = partsOf(prefix, set, index);
    let end = 0;
    try {
      for await (const { key } of store.list(from, stop.asked)) {
        noteKey(index, key);
        if (Number(key.slice(from.length + 1)) !== end) continue;
        const bytes = await store.getBytes(key, { signal: stop.asked });
        if (end === 0) await mkdir(dirname(path), { recursive: true });
        await appendFile(path, bytes);
        end += bytes.length;
      }
    } catch (error) {
      await rm(path, { force: true });
      throw error;
    }
    // In its own folder a restarted worker goes on; another attempt stores all of it again as its own.
    if (end > 0 && prefix === own) stored.set(path, end);
  }

  async function fetchCrashes(prefix: string, index: number): Promise<ShardCrashes | null> {
    const key = crashesKey(prefix, index);
    const bytes = await store.getBytes(key, { signal: stop.asked }).catch((error: unknown) => {
      if (isCairnError(error, 'not_found')) return null;
      throw error;
    });
    if (bytes === null) return null;
    noteKey(index, key);
    return shardCrashes.parse(JSON.parse(bytes.toString('utf8')));
  }

  async function storeNew(set: number, index: number): Promise<void> {
    const path = join(folder, journalFile(set, index));
    const file = await open(path, 'r').catch(() => null);
    if (file === null) return;
    try {
      const { size } = await file.stat();
      for (let from = stored.get(path) ?? 0; from < size; from = stored.get(path) ?? size) {
        const bytes = Buffer.alloc(Math.min(size - from, mostPartBytes));
        const { bytesRead } = await file.read(bytes, 0, bytes.length, from);
        if (bytesRead === 0) return;
        const key = `${partsOf(own, set, index)}/${String(from).padStart(offsetDigits, '0')}`;
        noteKey(index, key);
        await store.put(key, bytes.subarray(0, bytesRead), { signal: stop.ended });
        stored.set(path, from + bytesRead);
      }
    } finally {
      await file.close();
    }
  }

  return {
    async fetch({ index, resumeFrom }) {
      const prefix = resumeFrom ?? null;
      if (prefix === null) return null;
      try {
        for (const set of sets) await fetchJournal(prefix, set, index);
        return await fetchCrashes(prefix, index);
      } catch (error) {
        stop.asked.throwIfAborted();
        log.warn({ err: error }, `what an earlier worker had done of shard ${index} cannot be read; it is computed again`);
        return null;
      }
    },
    keep(index) {
      if (performance.now() - last < everyMs) return;
      last = performance.now();
      turn = turn.then(async () => {
        for (const set of sets) await storeNew(set, index);
      });
      turn = turn.catch((error: unknown) => log.warn({ err: error }, `the finished batches of shard ${index} cannot be stored`));
    },
    async remember(index, crashes) {
      const key = crashesKey(own, index);
      noteKey(index, key);
      await store
        .put(key, JSON.stringify(crashes), { signal: stop.ended })
        .catch((error: unknown) => log.warn({ err: error }, `how often shard ${index} has ended its process cannot be stored`));
    },
    settle: () => turn,
    async discard(index) {
      const found = keys.get(index) ?? [];
      keys.delete(index);
      for (const key of found)
        await store
          .remove(key, stop.ended)
          .catch((error: unknown) =>
            log.warn({ err: error }, `${key} of a committed shard cannot be removed; it is removed with the attempt`),
          );
    },
  };
}

async function isFile(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isFile(),
    () => false,
  );
}
