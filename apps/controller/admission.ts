import { isDeepStrictEqual } from 'node:util';
import type { PoolRoom } from '@cairn/contract';
import { loadWaiting, type Waiting } from '@cairn/db';
import { admit, type PoolCapacity } from '@cairn/domain';
import { createAttempts, drainOutbox, recordRoom, shrink } from '@cairn/engine';
import type { Executor } from '@cairn/executor';
import { queueCatalogue, queueName } from '@cairn/queue';
import { deadline, inParallel } from '@cairn/runtime';
import type { LeaderParts } from './parts.ts';

/** Transactions per batch, in parallel: a backlog that becomes free at once must not wait for one transaction after another. */
const launchesAtOnce = 4;
const entriesAtOnce = 200;

/** A machine that an attempt is leaving is checked again after this long, since no event says when it is free. */
const leavingMs = 1_000;

/**
 * One round of admission: creates the attempts that `admit` decides on, asks fleets to shrink, and delivers the outbox to the queues.
 * Returns when the next step's backoff ends, in milliseconds since the epoch.
 *
 * @param readings receives the room that the decision used; cleared unless a step waits for more room
 */
export async function admitOnce(leader: LeaderParts, readings: RoomReadings): Promise<number | null> {
  const { ctx, lead } = leader;
  await deliverOutbox(leader);
  const now = Date.now();
  const snapshot = await loadWaiting(ctx.prisma);
  const { waiting, running } = snapshot;
  const pools = await readRooms(leader, snapshot, readings);
  const { launch, shrink: shrinking } = admit(waiting, running, pools, now);
  if (!waiting.some((step) => step.pool === 'gpu')) readings.clear();
  const runOf = new Map(waiting.map((step) => [step.stepId, step.runId]));
  // In batches, not as a stream: each transaction holds a share lock on the lead's row, and if one is always held the lead cannot be
  // renewed (PostgreSQL grants share locks ahead of a waiting update; measured: 2.8 s of the lead's 5 s).
  for (let from = 0; from < launch.length; from += launchesAtOnce) {
    await inParallel(launch.slice(from, from + launchesAtOnce).values(), launchesAtOnce, async ({ stepId, pool, slots, attempts }) => {
      const runId = runOf.get(stepId);
      if (runId) await createAttempts(ctx, lead, runId, stepId, pool, attempts, slots);
      await deliverOutbox(leader);
    });
  }
  for (const attempt of shrinking) await shrink(ctx, lead, attempt.attemptId, `preempted by ${attempt.for}`);
  const delays = waiting.flatMap((step) => (step.notBefore !== null && step.notBefore > now ? [step.notBefore] : []));
  if (pools.some((pool) => pool.room !== null && pool.room.leaving > 0)) delays.push(now + leavingMs);
  return delays.length > 0 ? Math.min(...delays) : null;
}

/** Delivers every outbox entry to its queue. */
async function deliverOutbox({ ctx, queues }: Pick<LeaderParts, 'ctx' | 'queues'>): Promise<void> {
  const deliver = async (entries: Parameters<Parameters<typeof drainOutbox>[1]>[0]) => {
    for (const name of queueName.options) {
      const mine = entries.filter((entry) => entry.queue === name);
      if (mine.length > 0)
        await queues.addBulk(
          name,
          mine.map(({ row, generation }) => queueCatalogue[name].entryOf(row, generation)),
        );
    }
  };
  while ((await drainOutbox(ctx, deliver, entriesAtOnce)) === entriesAtOnce);
}

/** An executor answers from memory, except the first time. */
const readLimitMs = 2_000;
const unknownRoom: PoolRoom = { fits: 0, leaving: 0, sentences: ['the state of its machines is unknown'], nodes: [] };

/** The part of an executor that reports what its machines can hold. */
export type RoomSource = Pick<Executor, 'isWatching' | 'capacity'>;
/** The parts of the leader that are used here. */
type RoomParts = Pick<LeaderParts, 'ctx' | 'lead' | 'signal' | 'log'> & { executors: ReadonlyMap<string, RoomSource> };

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
