import { isDeepStrictEqual } from 'node:util';
import type { PoolRoom } from '@cairn/contract';
import type { Waiting } from '@cairn/db';
import type { PoolCapacity } from '@cairn/domain';
import { recordRoom } from '@cairn/engine';
import type { Executor } from '@cairn/executor';
import { deadline } from '@cairn/runtime';
import type { LeaderParts } from './parts.ts';

/** An executor answers from memory, but for its first look. */
const readLimitMs = 2_000;
const unseen: PoolRoom = { fits: 0, leaving: 0, sentences: ['its machines cannot be seen at the moment'] };

/** An executor as far as it tells what its machines can hold. */
export type RoomSource = Pick<Executor, 'isWatching' | 'capacity'>;
/** Of a reign what is asked here. */
export type RoomParts = Pick<LeaderParts, 'ctx' | 'lead' | 'signal' | 'log'> & { executors: ReadonlyMap<string, RoomSource> };

/** What a look at a pool is told: the attempts there, and the most that the loaders of one to start keep in shared memory. */
type RoomQuery = { live: ReadonlySet<string>; loaderBytes: number };

/** What the last look at a pool was told, and how many more could start. */
export type RoomReadings = Map<string, RoomQuery & { fits: number }>;

/**
 * The pools with what their machines can hold now; what has changed is written down, so that the api explains alike, and shows it also
 * while nothing waits.
 *
 * @param readings gets what was seen, for {@link hasMoreRoom}
 */
export async function readRooms(leader: RoomParts, { waiting, running, pools }: Waiting, readings: RoomReadings): Promise<PoolCapacity[]> {
  // A pod that were tried with less shared memory than its loaders need might find no node.
  const loaderBytes = waiting.reduce((most, step) => Math.max(most, step.loaderBytes), 0);
  return Promise.all(
    pools.map(async (pool) => {
      const executor = leader.executors.get(pool.name);
      if (!executor) return pool;
      const live = new Set(running.flatMap((attempt) => (attempt.pool === pool.name ? [attempt.attemptId] : [])));
      const room = await roomOf(leader, executor, { live, loaderBytes });
      if (room === null) readings.delete(pool.name);
      else readings.set(pool.name, { live, loaderBytes, fits: room.fits });
      if (!isDeepStrictEqual(room, pool.room)) await recordRoom(leader.ctx, leader.lead, pool.name, room);
      return { ...pool, room };
    }),
  );
}

/** True when the machines of a pool can hold more than at the last look: a node came, or was let in again, or others left it. Asks no database. */
export async function hasMoreRoom(leader: RoomParts, readings: RoomReadings): Promise<boolean> {
  const grown = await Promise.all(
    [...readings].map(async ([pool, { fits, ...query }]) => {
      const executor = leader.executors.get(pool);
      const room = executor ? await roomOf(leader, executor, query) : null;
      return room !== null && room.fits > fits;
    }),
  );
  return grown.includes(true);
}

/** Nothing starts where nothing can be seen: it would start on ignorance. */
async function roomOf({ signal, log }: RoomParts, executor: RoomSource, { live, loaderBytes }: RoomQuery): Promise<PoolRoom | null> {
  if (!executor.isWatching()) return unseen;
  try {
    return await executor.capacity(deadline(signal, readLimitMs), live, loaderBytes);
  } catch (error) {
    signal.throwIfAborted();
    log.warn({ err: error }, 'the machines of a pool cannot be seen');
    return unseen;
  }
}
