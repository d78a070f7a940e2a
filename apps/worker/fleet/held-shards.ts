import type { InternalClient } from '@cairn/client';
import type { ShardClaim } from '@cairn/contract';
import { untilAborted } from '@cairn/runtime';

export type Shard = NonNullable<ShardClaim['shard']>;

/** A shard at one place. */
export type HeldShard = {
  shard: Shard;
  /** Another place has it too, and began earlier. */
  isBackup: boolean;
  /** Aborted when the other place has committed it. */
  over: AbortController;
  /** Stores and commits the shard unless the other place has; the two never do so at the same time. */
  storeOnce(store: () => Promise<void>): Promise<void>;
};

type Entry = { shard: Shard; since: number; places: HeldShard[]; isStored: boolean; turn: Promise<unknown> };

/** A shard is slow that takes this many times as long as the median of those that this worker has done. */
const slowFactor = 2;
const leastStragglerMs = 30_000;

export type HeldShards = ReturnType<typeof openShards>;

/**
 * The shards that this worker holds. Claims are serialized: each sends what earlier ones got, or two places would get the same shard. When
 * none is left to claim, an idle place also computes the slowest shard of another place, and the first of the two commits it.
 */
export function openShards(
  { client, stragglerMs = leastStragglerMs }: { stragglerMs?: number; client: Pick<InternalClient, 'claimShard'> },
  halted: AbortSignal,
) {
  const held = new Map<number, Entry>();
  const durations: number[] = [];
  let last: Promise<unknown> = Promise.resolve();

  function join(entry: Entry): HeldShard {
    const mine: HeldShard = {
      shard: entry.shard,
      isBackup: entry.places.length > 0,
      over: new AbortController(),
      async storeOnce(store) {
        const turn = entry.turn.then(async () => {
          if (entry.isStored) return;
          await store();
          entry.isStored = true;
          for (const other of entry.places) if (other !== mine) other.over.abort();
        });
        entry.turn = turn.catch(() => undefined);
        await turn;
      },
    };
    entry.places.push(mine);
    return mine;
  }

  /** The shard that has taken longest, if it takes too long and only one place has it. */
  function straggler(): HeldShard | null {
    const median = durations.toSorted((a, b) => a - b)[Math.floor(durations.length / 2)];
    if (median === undefined) return null;
    const late = performance.now() - Math.max(stragglerMs, slowFactor * median);
    const slow = [...held.values()].filter(({ places, since, isStored }) => places.length === 1 && since <= late && !isStored);
    const [slowest] = slow.sort((a, b) => a.since - b.since);
    return slowest === undefined ? null : join(slowest);
  }

  return {
    claim(): Promise<Pick<ShardClaim, 'done' | 'retryAfterSeconds'> & { held: HeldShard | null }> {
      const turn = last.then(async () => {
        halted.throwIfAborted();
        const { shard, ...rest } = await untilAborted(client.claimShard({ holding: [...held.keys()] }), halted);
        if (shard === null) return { ...rest, held: rest.done ? null : straggler() };
        const entry: Entry = { shard, since: performance.now(), places: [], isStored: false, turn: Promise.resolve() };
        held.set(shard.index, entry);
        return { ...rest, held: join(entry) };
      });
      last = turn.catch(() => undefined);
      return turn;
    },
    /** A shard was done in this time. */
    took: (ms: number): void => void durations.push(ms),
    /** No other place has the shard. */
    isLast: ({ shard }: HeldShard): boolean => (held.get(shard.index)?.places.length ?? 0) <= 1,
    /** It was committed, released or left to the other place. */
    left(mine: HeldShard): void {
      const entry = held.get(mine.shard.index);
      if (entry === undefined) return;
      entry.places = entry.places.filter((other) => other !== mine);
      if (entry.places.length === 0) held.delete(mine.shard.index);
    },
  };
}
