import { isDeepStrictEqual } from 'node:util';
import type { PoolRoom } from '@cairn/contract';
import type { Waiting } from '@cairn/db';
import type { PoolCapacity } from '@cairn/domain';
import { recordRoom } from '@cairn/engine';
import type { Executor } from '@cairn/executor';
import { deadline } from '@cairn/runtime';
import type { LeaderParts } from './parts.ts';

/** An executor answers from memory, except the first time. */
const readLimitMs = 2_000;
const unknownRoom: PoolRoom = { fits: 0, leaving: 0, sentences: ['the state of its machines is unknown'] };

/** The part of an executor that reports what its machines can hold. */
export type RoomSource = Pick<Executor, 'isWatching' | 'capacity'>;
/** The parts of the leader that are used here. */
export type RoomParts = Pick<LeaderParts, 'ctx' | 'lead' | 'signal' | 'log'> & { executors: ReadonlyMap<string, RoomSource> };

/** The query for a pool's room: the attempts there, and the most shared memory that the loaders of a waiting step keep. */
type RoomQuery = { live: ReadonlySet<string>; loaderBytes: number };

/** The last query of each pool, and how many more attempts could start. */
export type RoomReadings = Map<string, RoomQuery & { fits: number }>;

/**
 * The pools with what their machines can hold now. Changes are recorded, so that the api gives the same reasons, and shows the room even
 * while nothing waits.
 *
 * @param readings receives the results, for {@link hasMoreRoom}
 */
export async function readRooms(leader: RoomParts, { waiting, running, pools }: Waiting, readings: RoomReadings): Promise<PoolCapacity[]> {
  // A query with less shared memory than the loaders need might report room where a pod finds no node.
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

/**
 * True when the machines of a pool can hold more than at the last reading: a node was added or uncordoned, or other pods left. Does not
 * query the database.
 */
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

/** The room is 0 when the machines cannot be seen: nothing may start blindly. */
async function roomOf({ signal, log }: RoomParts, executor: RoomSource, { live, loaderBytes }: RoomQuery): Promise<PoolRoom | null> {
  if (!executor.isWatching()) return unknownRoom;
  try {
    return await executor.capacity(deadline(signal, readLimitMs), live, loaderBytes);
  } catch (error) {
    signal.throwIfAborted();
    log.warn({ err: error }, 'could not read the room of a pool');
    return unknownRoom;
  }
}
