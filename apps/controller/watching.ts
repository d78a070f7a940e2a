import { isDeepStrictEqual } from 'node:util';
import { type FailureView, type Finding, type FindingView, firstOf, isCairnError } from '@cairn/contract';
import { assess, type Assessment } from '@cairn/domain';
import {
  attemptGone,
  type FindingChange,
  isLive,
  markSilent,
  recordFindings,
  recordPlace,
  type WatchedAttempt,
  watchedAttempts,
} from '@cairn/engine';
import type { Executor, Snapshot } from '@cairn/executor';
import type { ApiHealth } from './api-health.ts';
import type { LeaderParts } from './parts.ts';

/** An attempt that has not reported for this long is silent. */
const silentAfterMs = 10_000;
/** A task has no executor that proves its end: silent for this long, its right to go on is taken from it. */
const revokeTaskAfterMs = 30_000;
/** What is over sooner, as the moments before a container starts, is not worth telling. */
const reportAfterMs = 3_000;
const maxMessage = 1_000;
/** Beyond the grace, for the last upload to end. */
const stopMarginMs = 5_000;

/** Compares what PostgreSQL says is alive with what the executors see, and with who has reported. */
export async function watchOnce(leader: LeaderParts, health: ApiHealth): Promise<void> {
  // The rows first: a running attempt among them had its process before the executor is asked.
  const attempts = await watchedAttempts(leader.ctx);
  for (const [pool, executor] of leader.executors) {
    try {
      await watchPool(leader, executor, pool, attempts);
    } catch (error) {
      // What runs there goes on unseen; the other pools are watched all the same.
      if (!isCairnError(error, 'unavailable')) throw error;
      leader.log.warn({ err: error, pool }, 'a pool cannot be watched now');
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
    // Its node is known once it runs there.
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
    if (await executor.isGone(attempt.id, leader.signal)) await gone(leader, attempt, lost(`nothing of it is left in pool ${pool}`));
  }
}

/** What screens tell of a finding. */
function findingViewOf(finding: Finding | null, assessment: Assessment | null): FindingView | null {
  if (!finding || !assessment || Date.now() - finding.since < reportAfterMs) return null;
  const { code, message } = assessment.failure;
  const told = firstOf(message, maxMessage);
  return { code, message: assessment.next === null ? told : `${told}; ${assessment.next}`, since: new Date(finding.since).toISOString() };
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
    // It may have been made and started since the rows were read.
    if (await isLive(leader.ctx, attemptId, snapshot.generation)) return;
    if (snapshot.phase === 'exited') await executor.forget(attemptId);
    else await executor.stop(attemptId, { graceSeconds: stopMarginMs / 1000, reason: 'superseded' });
    return;
  }
  if (snapshot.phase === 'exited' || assessment?.over) {
    const tail = (await executor.logs(attemptId)).trim().split('\n').slice(-20).join('\n');
    const code = snapshot.exitCode === null ? 'was killed or vanished' : `ended with exit code ${snapshot.exitCode}`;
    const failure = assessment?.failure ?? lost(`its agent ${code} without telling its end`);
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

/** Silence counts only while the api itself answers: an outage of ours is no attempt's fault. */
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
