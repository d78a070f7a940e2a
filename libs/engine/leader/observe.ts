import type { FailureView } from '@cairn/contract';
import { isLiveAttempt, liveAttemptStates } from '@cairn/domain';
import { endAttempt } from '../attempts/finish.ts';
import { states } from '../columns.ts';
import type { EngineContext } from '../context.ts';
import { withRun } from '../run-work.ts';
import { assertLead, type Leadership } from './leadership.ts';

/** A live attempt as the leader watches it. Times are milliseconds since the epoch. */
export type WatchedAttempt = {
  id: string;
  runId: string;
  generation: number;
  state: 'created' | 'launching' | 'running' | 'stopping';
  pool: string;
  contact: string;
  createdAt: number;
  lastContactAt: number | null;
  stopRequestedAt: number | null;
  stopReason: string | null;
};

export async function watchedAttempts(ctx: EngineContext): Promise<WatchedAttempt[]> {
  const rows = await ctx.prisma.attempt.findMany({ where: { state: { in: [...liveAttemptStates] } } });
  return rows.map((row) => ({
    id: row.id,
    runId: row.runId,
    generation: row.generation,
    state: row.state as WatchedAttempt['state'],
    pool: row.pool,
    contact: row.contact,
    createdAt: row.createdAt.getTime(),
    lastContactAt: row.lastContactAt?.getTime() ?? null,
    stopRequestedAt: row.stopRequestedAt?.getTime() ?? null,
    stopReason: row.stopReason,
  }));
}

/**
 * The executor proved that an attempt's process is gone, or its place lost the right to go on (`revoke`). No change when the
 * attempt told its end itself. The generation is raised, so that whatever still runs is refused from now on.
 */
export async function attemptGone(
  ctx: EngineContext,
  lead: Leadership,
  attempt: Pick<WatchedAttempt, 'id' | 'runId' | 'generation'>,
  failure: FailureView,
): Promise<void> {
  await withRun(ctx, attempt.runId, async (run) => {
    await assertLead(run.tx, lead);
    const row = await run.tx.attempt.findUniqueOrThrow({ where: { id: attempt.id } });
    if (row.generation !== attempt.generation || !isLiveAttempt(states.attempt.parse(row.state))) return;
    await run.tx.attempt.update({ where: { id: row.id }, data: { generation: { increment: 1 } } });
    const cancelled = run.state === 'cancelling';
    const preempted = row.state === 'stopping' && !cancelled;
    await endAttempt(
      run,
      row,
      cancelled ? 'cancelled' : preempted ? 'preempted' : 'lost',
      preempted ? { ...failure, cause: 'preemption' } : failure,
      null,
    );
  });
}

/** Marks attempts that have not reported for a while. Contact is an attribute, not a state: nothing is decided by it alone. */
export async function markSilent(ctx: EngineContext, attemptIds: readonly string[]): Promise<void> {
  if (attemptIds.length > 0)
    await ctx.prisma.attempt.updateMany({ where: { id: { in: [...attemptIds] }, contact: 'ok' }, data: { contact: 'silent' } });
}

/** True while the attempt's generation may go on. */
export async function isLive(ctx: EngineContext, attemptId: string, generation: number): Promise<boolean> {
  return (await ctx.prisma.attempt.count({ where: { id: attemptId, generation, state: { in: [...liveAttemptStates] } } })) > 0;
}
