import { mkdir, open, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { journalFile } from '../child/messages.ts';
import type { Shard } from '../fleet/held-shards.ts';
import type { FleetContext } from '../fleet/run-shards.ts';

/** Where the parts of a shard's journal are, below the prefix of an attempt: their names are the offsets of their bytes. */
const partsOf = (prefix: string, set: number, index: number): string => `${prefix}partial/${set}/${String(index).padStart(5, '0')}`;
const offsetDigits = 12;

export type BatchKeeper = {
  /** Fetches what an earlier holder of the shard had stored of it. */
  fetch(shard: Shard): Promise<void>;
  /** Stores what is new in the journals of the shard, if the last time was long enough ago. Never fails. */
  keep(index: number): void;
  /** Waits for what is being stored. */
  settle(): Promise<void>;
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
  let last = performance.now();
  let turn: Promise<void> = Promise.resolve();

  async function fetchJournal(prefix: string, set: number, index: number): Promise<void> {
    const path = join(folder, journalFile(set, index));
    if (await isFile(path)) return;
    const from = partsOf(prefix, set, index);
    const parts: Buffer[] = [];
    let end = 0;
    for await (const { key } of store.list(from, stop.asked)) {
      if (Number(key.slice(from.length + 1)) !== end) break;
      const bytes = await store.getBytes(key, { signal: stop.asked });
      parts.push(bytes);
      end += bytes.length;
    }
    if (end === 0) return;
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, Buffer.concat(parts));
    // In its own folder a restarted worker goes on; another attempt stores all of it again as its own.
    if (prefix === own) stored.set(path, end);
  }

  async function storeNew(set: number, index: number): Promise<void> {
    const path = join(folder, journalFile(set, index));
    const from = stored.get(path) ?? 0;
    const file = await open(path, 'r').catch(() => null);
    if (file === null) return;
    try {
      const { size } = await file.stat();
      if (size <= from) return;
      const bytes = Buffer.alloc(size - from);
      const { bytesRead } = await file.read(bytes, 0, bytes.length, from);
      const key = `${partsOf(own, set, index)}/${String(from).padStart(offsetDigits, '0')}`;
      await store.put(key, bytes.subarray(0, bytesRead), { signal: stop.ended });
      stored.set(path, from + bytesRead);
    } finally {
      await file.close();
    }
  }

  return {
    async fetch({ index, resumeFrom }) {
      const prefix = resumeFrom ?? null;
      if (prefix === null) return;
      for (const set of sets) {
        await fetchJournal(prefix, set, index).catch((error: unknown) => {
          stop.asked.throwIfAborted();
          log.warn({ err: error }, `what an earlier worker had done of shard ${index} cannot be read; it is computed again`);
        });
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
    settle: () => turn,
  };
}

async function isFile(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isFile(),
    () => false,
  );
}
