import { isEndedRun } from '@cairn/contract';
import { inTransaction, type Transaction } from '@cairn/db';
import type { EngineContext } from './engine.ts';
import { type GroupKey, nextInGroup } from './groups.ts';
import { inRun } from './in-run.ts';
import type { RunWork } from './run-work.ts';

/**
 * Locks a run, lets `work` change it, settles it (`advance` until nothing is left to do) and commits. When the run has ended, the next of
 * its concurrency group starts.
 *
 * @param lockFirst takes locks that come before that of the run
 */
export async function withRun<T>(
  ctx: EngineContext,
  runId: string,
  work: (run: RunWork) => Promise<T>,
  lockFirst: (tx: Transaction) => Promise<void> = async () => undefined,
): Promise<T> {
  const alsoSettle = new Set<string>();
  const { value, run } = await inTransaction(ctx.prisma, async (tx) => {
    await lockFirst(tx);
    return inRun(ctx, tx, { runId, alsoSettle }, work);
  });
  alsoSettle.delete(runId);
  for (const other of alsoSettle) await settleRun(ctx, other);
  if (run.group !== null && isEndedRun(run.state)) await settleGroup(ctx, { projectId: run.projectId, group: run.group });
  return value;
}

/** Advances a run that an external change may have unblocked. */
export async function settleRun(ctx: EngineContext, runId: string): Promise<void> {
  await withRun(ctx, runId, async () => undefined);
}

/** Starts and supersedes runs of a group until `decideGroup` has nothing left to do, each in a transaction of its own. */
export async function settleGroup(ctx: EngineContext, key: GroupKey): Promise<void> {
  for (;;) {
    const alsoSettle = new Set<string>();
    const isSettled = await inTransaction(ctx.prisma, (tx) => nextInGroup(ctx, tx, key, alsoSettle));
    for (const other of alsoSettle) await settleRun(ctx, other);
    if (isSettled) return;
  }
}
