import { isDeepStrictEqual } from 'node:util';
import { type FailureView, type Finding, type FindingView, firstOf, isCairnError } from '@cairn/contract';
import { type Assessment, assess } from '@cairn/domain';
import {
  attemptGone,
  attemptsToQueue,
  type FindingChange,
  isLive,
  markSilent,
  recordFindings,
  recordPlace,
  settleGroup,
  settleRun,
  stepsToFinalize,
  unsettledGroups,
  unsettledRuns,
  type WatchedAttempt,
  watchedAttempts,
} from '@cairn/engine';
import type { Executor, Snapshot } from '@cairn/executor';
import type { ApiHealth } from './health.ts';
import type { LeaderParts } from './parts.ts';

/** An attempt that has not reported for this long is silent. */
const silentAfterMs = 10_000;
/** A task has no executor that proves its end: after this long without contact, its right to continue is revoked. */
const revokeTaskAfterMs = 30_000;
/** Findings that pass sooner, such as the moments before a container starts, are not shown. */
const reportAfterMs = 3_000;
const maxMessage = 1_000;
/** Added to the grace period, for the last upload to end. */
const stopMarginMs = 5_000;

/** Compares the live attempts in PostgreSQL with what the executors see, and with which attempts have reported. */
export async function watchOnce(leader: LeaderParts, health: ApiHealth): Promise<void> {
  // The rows first: the process of a running attempt among them started before the executor is queried.
  const attempts = await watchedAttempts(leader.ctx);
  for (const [pool, executor] of leader.executors) {
    try {
      await watchPool(leader, executor, pool, attempts);
    } catch (error) {
      // Attempts there continue unobserved; the other pools are still watched.
      if (!isCairnError(error, 'unavailable')) throw error;
      leader.log.warn({ err: error, pool }, 'could not watch a pool');
    }
  }
  await watchSilence(leader, attempts, health);
}

async function watchPool(leader: LeaderParts, executor: Executor, pool: string, attempts: readonly WatchedAttempt[]): Promise<void> {
  const byId = new Map(attempts.map((attempt) => [attempt.id, attempt]));
  const snapshots = await executor.observe(leader.signal);
  const changes: FindingChange[] = [];
  for (const snapshot of snapshots) {
    const attempt = byId.get(snapshot.attemptId);
    const assessment = snapshot.finding && assess(snapshot.finding, { now: Date.now(), silent: attempt?.contact !== 'ok' });
    await watchSnapshot(leader, executor, { snapshot, assessment }, attempt);
    // The node is known once the attempt runs there.
    if (attempt && snapshot.node && attempt.place !== snapshot.place) {
      await recordPlace(leader.ctx, attempt.id, attempt.generation, snapshot.place);
    }
    const finding = assessment?.over ? null : findingViewOf(snapshot.finding, assessment);
    if (attempt && snapshot.phase !== 'exited' && !isDeepStrictEqual(finding, attempt.finding)) changes.push({ attempt, finding });
  }
  await recordFindings(leader.ctx, leader.lead, changes);
  const seen = new Set(snapshots.map((snapshot) => snapshot.attemptId));
  const vanished = attempts.filter(
    (attempt) =>
      attempt.pool === pool && !seen.has(attempt.id) && (attempt.state === 'running' || attempt.state === 'stopping' || attempt.isPlaced),
  );
  for (const attempt of vanished) {
    if (await executor.isGone(attempt.id, leader.signal)) await gone(leader, attempt, lost(`it no longer exists in pool ${pool}`));
  }
}

/** The view of a finding for clients. */
function findingViewOf(finding: Finding | null, assessment: Assessment | null): FindingView | null {
  if (!finding || !assessment || Date.now() - finding.since < reportAfterMs) return null;
  const { code, message } = assessment.failure;
  const shown = firstOf(message, maxMessage);
  return { code, message: assessment.next === null ? shown : `${shown}; ${assessment.next}`, since: new Date(finding.since).toISOString() };
}

type Seen = { snapshot: Snapshot; assessment: Assessment | null };

async function watchSnapshot(
  leader: LeaderParts,
  executor: Executor,
  { snapshot, assessment }: Seen,
  attempt: WatchedAttempt | undefined,
): Promise<void> {
  const { attemptId } = snapshot;
  if (!attempt || attempt.generation !== snapshot.generation) {
    // It may have been created and started since the rows were read.
    if (await isLive(leader.ctx, attemptId, snapshot.generation)) return;
    if (snapshot.phase === 'exited') await executor.forget(attemptId);
    else await executor.stop(attemptId, { graceSeconds: stopMarginMs / 1000, reason: 'superseded' });
    return;
  }
  if (snapshot.phase === 'exited' || assessment?.over) {
    const tail = (await executor.logs(attemptId)).trim().split('\n').slice(-20).join('\n');
    const code = snapshot.exitCode === null ? 'was killed or vanished' : `ended with exit code ${snapshot.exitCode}`;
    const failure = assessment?.failure ?? lost(`its agent ${code} without reporting its end`);
    const avoid = assessment?.action === 'retry_elsewhere' ? snapshot.node : undefined;
    await gone(leader, attempt, { ...failure, message: `${failure.message}${tail ? `:\n${tail}` : ''}` }, avoid);
    await executor.forget(attemptId);
    return;
  }
  if (attempt.state === 'stopping' && attempt.stopRequestedAt !== null) {
    const leftMs = Math.max(0, attempt.stopRequestedAt + leader.ctx.limits.graceSeconds * 1000 + stopMarginMs - Date.now());
    await executor.stop(attemptId, { graceSeconds: leftMs / 1000, reason: attempt.stopReason ?? 'asked to stop' });
  }
}

const lost = (message: string): FailureView => ({ cause: 'infrastructure', code: 'program_failed', message });

async function gone(leader: LeaderParts, attempt: WatchedAttempt, failure: FailureView, avoidNode?: string): Promise<void> {
  leader.log.warn({ attemptId: attempt.id, code: failure.code }, `attempt lost: ${failure.message.split('\n')[0]}`);
  await attemptGone(leader.ctx, leader.lead, attempt, failure, avoidNode);
}

/** Silence counts only while the api answers: an outage of the api is not the attempt's fault. */
async function watchSilence(leader: LeaderParts, attempts: readonly WatchedAttempt[], health: ApiHealth): Promise<void> {
  const healthySince = health.healthySince();
  if (healthySince === null) return;
  const silentMs = (attempt: WatchedAttempt): number =>
    attempt.lastContactAt === null ? 0 : Date.now() - Math.max(attempt.lastContactAt, healthySince);
  await markSilent(
    leader.ctx,
    attempts.filter((attempt) => attempt.contact === 'ok' && silentMs(attempt) > silentAfterMs).map((attempt) => attempt.id),
  );
  for (const attempt of attempts) {
    if (attempt.pool === 'tasks' && silentMs(attempt) > revokeTaskAfterMs) {
      await gone(leader, attempt, lost(`its task has not reported for ${Math.round(silentMs(attempt) / 1000)} s`));
    }
  }
}

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
  for (const key of await unsettledGroups(ctx)) {
    await settleGroup(ctx, key).catch((error: unknown) => log.error({ err: error, ...key }, 'could not settle a concurrency group'));
  }
  for (const runId of await unsettledRuns(ctx)) {
    await settleRun(ctx, runId).catch((error: unknown) => log.error({ err: error, runId }, 'could not settle a run'));
  }
}
