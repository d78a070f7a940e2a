import { loadWaiting } from '@cairn/db';
import { admit } from '@cairn/domain';
import { createAttempts, drainOutbox, shrink } from '@cairn/engine';
import { queueCatalogue, queueName } from '@cairn/queue';
import { inParallel } from '@cairn/runtime';
import type { LeaderParts } from './parts.ts';
import { type RoomReadings, readRooms } from './room.ts';

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
export async function deliverOutbox({ ctx, queues }: Pick<LeaderParts, 'ctx' | 'queues'>): Promise<void> {
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
