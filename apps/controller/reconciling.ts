import { attemptsToQueue, settleRun, stepsToFinalize, unsettledRuns } from '@cairn/engine';
import type { LeaderParts } from './parts.ts';

/** After this long in a queue, an entry may have been lost. */
const requeueAfterMs = 3_000;

/**
 * Recovers from crashes and emptied queues: queues starts and finalizations again (a queue that still has the entry ignores it), and
 * settles runs that a command left unsettled.
 */
export async function reconcileOnce({ ctx, queues, log }: LeaderParts): Promise<void> {
  const missing = await attemptsToQueue(ctx, requeueAfterMs);
  for (const queue of ['launch', 'tasks'] as const) {
    const entries = missing.flatMap((entry) => (entry.queue === queue ? [{ attemptId: entry.row, generation: entry.generation }] : []));
    if (entries.length > 0) await queues.addBulk(queue, entries);
  }
  for (const { stepId, generation } of await stepsToFinalize(ctx)) {
    await queues.add('finalize', { stepId, generation });
  }
  for (const runId of await unsettledRuns(ctx)) {
    await settleRun(ctx, runId).catch((error: unknown) => log.error({ err: error, runId }, 'could not settle a run'));
  }
}
