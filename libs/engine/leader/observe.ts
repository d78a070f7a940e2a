import {
  type AttemptState,
  type FailureView,
  type FindingView,
  findingView,
  type Hint,
  isLiveAttempt,
  liveAttemptStates,
  reportedFailure,
  reportedMessage,
  type StopCause,
} from '@cairn/contract';
import { hintChannel, liveAttempts } from '@cairn/db';
import { endAttempt } from '../attempts/lifecycle.ts';
import { attemptNow } from '../attempts/spec.ts';
import { states } from '../columns.ts';
import type { EngineContext } from '../engine.ts';
import { changeAttempt } from '../run-work.ts';
import { withRun } from '../with-run.ts';
import { assertLead, type Leadership, leaderGuard } from './leadership.ts';

/** A live attempt as the leader watches it. Times are in milliseconds since the epoch. */
export type WatchedAttempt = {
  id: string;
  runId: string;
  generation: number;
  state: AttemptState;
  pool: string;
  contact: string;
  createdAt: number;
  lastContactAt: number | null;
  stopRequestedAt: number | null;
  stopReason: string | null;
  /** True once the executor has reported where it started the attempt. */
  isPlaced: boolean;
  /** The last recorded place. */
  place: string | null;
  /** The last recorded finding. */
  finding: FindingView | null;
};

export async function watchedAttempts(ctx: EngineContext): Promise<WatchedAttempt[]> {
  const rows = await ctx.prisma.attempt.findMany({ where: { state: { in: liveAttemptStates } } });
  return rows.map((row) => ({
    id: row.id,
    runId: row.runId,
    generation: row.generation,
    state: states.attempt.parse(row.state),
    pool: row.pool,
    contact: row.contact,
    createdAt: row.createdAt.getTime(),
    lastContactAt: row.lastContactAt?.getTime() ?? null,
    stopRequestedAt: row.stopRequestedAt?.getTime() ?? null,
    stopReason: row.stopReason,
    isPlaced: row.handle !== null,
    place: row.place,
    finding: row.finding === null ? null : findingView.parse(row.finding),
  }));
}

/**
 * Ends an attempt whose process is proved gone by its executor, or whose right to continue was revoked. No change when the attempt reported
 * its end itself. The generation is incremented, so that a process that still runs is rejected from now on.
 */
export async function attemptGone(
  ctx: EngineContext,
  lead: Leadership,
  attempt: Pick<WatchedAttempt, 'id' | 'runId' | 'generation'>,
  /** May contain the last output of a program or a kubelet; cleaned here. */
  seen: FailureView,
  /** The machine that the next attempts of the step should avoid. */
  avoidNode?: string,
): Promise<void> {
  const failure = reportedFailure.parse(seen);
  await withRun(ctx, attempt.runId, async (run) => {
    await assertLead(run.tx, lead);
    const row = await attemptNow(run.tx, attempt.id);
    if (row.generation !== attempt.generation || !isLiveAttempt(row.state)) return;
    changeAttempt(run, row, { generation: row.generation + 1, ...(avoidNode === undefined ? {} : { avoidNode }) });
    const to = run.state === 'cancelling' ? 'cancelled' : row.state === 'stopping' ? stoppedState[row.stopCause ?? 'preempted'] : 'lost';
    await endAttempt(run, row, to, to === 'preempted' ? { ...failure, cause: 'preemption' } : failure, null);
  });
}

/** The state of an attempt that ended as requested. */
const stoppedState = { cancelled: 'cancelled', step_failed: 'cancelled', preempted: 'preempted' } as const satisfies Record<
  StopCause,
  AttemptState
>;

/** Marks attempts that have not reported for a while. Contact is an attribute, not a state: it alone decides nothing. */
export async function markSilent(ctx: EngineContext, attemptIds: readonly string[]): Promise<void> {
  if (attemptIds.length > 0)
    await ctx.prisma.attempt.updateMany({ where: { id: { in: [...attemptIds] }, contact: 'ok' }, data: { contact: 'silent' } });
}

export type FindingChange = { attempt: Pick<WatchedAttempt, 'id' | 'runId'>; finding: FindingView | null };

/** Records findings about attempts, for programs without a connection to the cluster; called only with changes. */
export async function recordFindings(ctx: EngineContext, lead: Leadership, changes: readonly FindingChange[]): Promise<void> {
  if (changes.length === 0) return;
  const rows = JSON.stringify(
    changes.map(({ attempt, finding }) => {
      const hint: Hint = { topic: `run:${attempt.runId}`, runId: attempt.runId, what: 'run' };
      const cleaned = finding && { ...finding, message: reportedMessage.parse(finding.message) };
      return { id: attempt.id, finding: cleaned, hint: JSON.stringify(hint) };
    }),
  );
  await ctx.prisma.$executeRaw`
    with change as (select id, nullif(finding, 'null'::jsonb) as finding, hint
                      from jsonb_to_recordset(${rows}::jsonb) as c(id text, finding jsonb, hint text)),
         written as (update attempt a set finding = c.finding from change c
                      where a.id = c.id and a.state in ${liveAttempts} and ${leaderGuard(lead)} returning c.hint)
    select pg_notify(${hintChannel}, hint) from written`;
}

/** True while the attempt's generation may continue. */
export async function isLive(ctx: EngineContext, attemptId: string, generation: number): Promise<boolean> {
  return (await ctx.prisma.attempt.count({ where: { id: attemptId, generation, state: { in: liveAttemptStates } } })) > 0;
}
