import { isDeepStrictEqual } from 'node:util';
import type { PoolRoom } from '@cairn/contract';
import type { Waiting } from '@cairn/db';
import type { PoolCapacity } from '@cairn/domain';
import { recordRoom } from '@cairn/engine';
import type { Executor } from '@cairn/executor';
import { deadline } from '@cairn/runtime';
import type { Reign } from './parts.ts';

/** An executor answers from memory, but for its first look. */
const lookLimitMs = 2_000;
const unseen: PoolRoom = { fits: 0, leaving: 0, sentences: ['its machines cannot be seen at the moment'] };

/** An executor as far as it tells what its machines can hold. */
export type RoomSource = Pick<Executor, 'isWatching' | 'capacity'>;
/** Of a reign what is asked here. */
export type RoomParts = Pick<Reign, 'ctx' | 'lead' | 'signal' | 'log'> & { executors: ReadonlyMap<string, RoomSource> };

/** What a look at a pool is told: the attempts there, and the most that the loaders of one to start keep in shared memory. */
type Beside = { live: ReadonlySet<string>; loaderBytes: number };

/** What the last look at a pool was told, and how many more could start. */
export type RoomLooks = Map<string, Beside & { fits: number }>;

/**
 * The pools with what their machines can hold now; what has changed is written down, so that the api explains alike, and shows it also
 * while nothing waits.
 *
 * @param looks gets what was seen, for {@link hasMoreRoom}
 */
export async function lookAtRoom(reign: RoomParts, { waiting, running, pools }: Waiting, looks: RoomLooks): Promise<PoolCapacity[]> {
  // A pod that were tried with less shared memory than its loaders need might find no node.
  const loaderBytes = waiting.reduce((most, step) => Math.max(most, step.loaderBytes), 0);
  return Promise.all(
    pools.map(async (pool) => {
      const executor = reign.executors.get(pool.name);
      if (!executor) return pool;
      const live = new Set(running.flatMap((attempt) => (attempt.pool === pool.name ? [attempt.attemptId] : [])));
      const room = await roomOf(reign, executor, { live, loaderBytes });
      if (room === null) looks.delete(pool.name);
      else looks.set(pool.name, { live, loaderBytes, fits: room.fits });
      if (!isDeepStrictEqual(room, pool.room)) await recordRoom(reign.ctx, reign.lead, pool.name, room);
      return { ...pool, room };
    }),
  );
}

/** True when the machines of a pool can hold more than at the last look: a node came, or was let in again, or others left it. Asks no database. */
export async function hasMoreRoom(reign: RoomParts, looks: RoomLooks): Promise<boolean> {
  const grown = await Promise.all(
    [...looks].map(async ([pool, { fits, ...beside }]) => {
      const executor = reign.executors.get(pool);
      const room = executor ? await roomOf(reign, executor, beside) : null;
      return room !== null && room.fits > fits;
    }),
  );
  return grown.includes(true);
}

/** Nothing starts where nothing can be seen: it would start on ignorance. */
async function roomOf({ signal, log }: RoomParts, executor: RoomSource, { live, loaderBytes }: Beside): Promise<PoolRoom | null> {
  if (!executor.isWatching()) return unseen;
  try {
    return await executor.capacity(deadline(signal, lookLimitMs), live, loaderBytes);
  } catch (error) {
    signal.throwIfAborted();
    log.warn({ err: error }, 'the machines of a pool cannot be seen');
    return unseen;
  }
}
