import { loadWaiting } from '@cairn/db';
import { admit } from '@cairn/domain';
import { createAttempts, drainOutbox, shrink } from '@cairn/engine';
import { queueCatalogue, queueName } from '@cairn/queue';
import { inParallel } from '@cairn/runtime';
import type { LeaderParts } from './parts.ts';
import { readRooms, type RoomReadings } from './room.ts';

/** Transactions of one batch: a backlog that becomes free at once must not wait for one after another. */
const launchesAtOnce = 4;
const entriesAtOnce = 200;

/** A machine that an attempt leaves is looked at again this soon: nothing tells when it is free. */
const leavingMs = 1_000;

/**
 * One look at everything that waits: makes the attempts that `admit` decides on, asks fleets to give way, and hands the
 * outbox to the queue. Answers when the next step's delay is over, in milliseconds since the epoch.
 *
 * @param readings gets the room that it went by; only while a step waits for more is it worth looking again
 */
export async function admitOnce(leader: LeaderParts, readings: RoomReadings): Promise<number | null> {
  const { ctx, lead } = leader;
  await deliverOutbox(leader);
  const now = Date.now();
  const seen = await loadWaiting(ctx.prisma);
  const { waiting, running } = seen;
  const pools = await readRooms(leader, seen, readings);
  const { launch, shrink: giveWay } = admit(waiting, running, pools, now);
  if (!waiting.some((step) => step.pool === 'gpu')) readings.clear();
  const runOf = new Map(waiting.map((step) => [step.stepId, step.runId]));
  // In batches, not as a stream: each transaction holds the lead's row for share, and where another always does the lead cannot be
  // kept (PostgreSQL lets a sharer in before an update that waits; measured, 2.8 s of the lead's 5).
  for (let from = 0; from < launch.length; from += launchesAtOnce) {
    await inParallel(launch.slice(from, from + launchesAtOnce).values(), launchesAtOnce, async ({ stepId, pool, slots, attempts }) => {
      const runId = runOf.get(stepId);
      if (runId) await createAttempts(ctx, lead, runId, stepId, pool, attempts, slots);
      await deliverOutbox(leader);
    });
  }
  for (const attempt of giveWay) await shrink(ctx, lead, attempt.attemptId, `it gives way to ${attempt.for}`);
  const delays = waiting.flatMap((step) => (step.notBefore !== null && step.notBefore > now ? [step.notBefore] : []));
  if (pools.some((pool) => pool.room !== null && pool.room.leaving > 0)) delays.push(now + leavingMs);
  return delays.length > 0 ? Math.min(...delays) : null;
}

/** Hands every outbox entry to its queue. */
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
