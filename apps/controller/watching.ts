import { attemptGone, isLive, markSilent, type WatchedAttempt, watchedAttempts } from '@cairn/engine';
import type { Executor, Snapshot } from '@cairn/executor';
import type { ApiHealth } from './api-health.ts';
import type { Reign } from './parts.ts';

/** An attempt that has not reported for this long is silent. */
const silentAfterMs = 10_000;
/** A task has no executor that proves its end: silent for this long, its right to go on is taken from it. */
const revokeTaskAfterMs = 30_000;
/** Beyond the grace, for the last upload to end. */
const stopMarginMs = 5_000;

/** Compares what PostgreSQL says is alive with what the executors see, and with who has reported. */
export async function watchOnce(reign: Reign, health: ApiHealth): Promise<void> {
  // The rows first: a running attempt among them had its process before the executor is asked.
  const attempts = await watchedAttempts(reign.ctx);
  const byId = new Map(attempts.map((attempt) => [attempt.id, attempt]));
  for (const [pool, executor] of reign.executors) {
    const snapshots = await executor.observe(reign.signal);
    for (const snapshot of snapshots) await watchSnapshot(reign, executor, snapshot, byId.get(snapshot.attemptId));
    const seen = new Set(snapshots.map((snapshot) => snapshot.attemptId));
    const vanished = attempts.filter(
      (attempt) => attempt.pool === pool && !seen.has(attempt.id) && (attempt.state === 'running' || attempt.state === 'stopping'),
    );
    for (const attempt of vanished) await gone(reign, attempt, 'nothing of it is left where it ran');
  }
  await watchSilence(reign, attempts, health);
}

async function watchSnapshot(reign: Reign, executor: Executor, snapshot: Snapshot, attempt: WatchedAttempt | undefined): Promise<void> {
  const { attemptId } = snapshot;
  if (!attempt || attempt.generation !== snapshot.generation) {
    // It may have been made and started since the rows were read.
    if (await isLive(reign.ctx, attemptId, snapshot.generation)) return;
    if (snapshot.phase === 'exited') await executor.forget(attemptId);
    else await executor.stop(attemptId, { graceSeconds: stopMarginMs / 1000, reason: 'superseded' });
    return;
  }
  if (snapshot.phase === 'exited') {
    const tail = (await executor.logs(attemptId)).trim().split('\n').slice(-20).join('\n');
    const code = snapshot.exitCode === null ? 'was killed or vanished' : `ended with exit code ${snapshot.exitCode}`;
    await gone(reign, attempt, `its agent ${code} without telling its end${tail ? `:\n${tail}` : ''}`);
    await executor.forget(attemptId);
    return;
  }
  if (attempt.state === 'stopping' && attempt.stopRequestedAt !== null) {
    const leftMs = Math.max(0, attempt.stopRequestedAt + reign.ctx.limits.graceSeconds * 1000 + stopMarginMs - Date.now());
    await executor.stop(attemptId, { graceSeconds: leftMs / 1000, reason: attempt.stopReason ?? 'asked to stop' });
  }
}

async function gone(reign: Reign, attempt: WatchedAttempt, message: string): Promise<void> {
  reign.log.warn({ attemptId: attempt.id }, `attempt lost: ${message.split('\n')[0]}`);
  await attemptGone(reign.ctx, reign.lead, attempt, { cause: 'infrastructure', code: 'program_failed', message });
}

/** Silence counts only while the api itself answers: an outage of ours is no attempt's fault. */
async function watchSilence(reign: Reign, attempts: readonly WatchedAttempt[], health: ApiHealth): Promise<void> {
  const healthySince = health.healthySince();
  if (healthySince === null) return;
  const silentMs = (attempt: WatchedAttempt): number =>
    attempt.lastContactAt === null ? 0 : Date.now() - Math.max(attempt.lastContactAt, healthySince);
  await markSilent(
    reign.ctx,
    attempts.filter((attempt) => attempt.contact === 'ok' && silentMs(attempt) > silentAfterMs).map((attempt) => attempt.id),
  );
  for (const attempt of attempts) {
    if (attempt.pool === 'tasks' && silentMs(attempt) > revokeTaskAfterMs) {
      await gone(reign, attempt, `its task has not reported for ${Math.round(silentMs(attempt) / 1000)} s`);
    }
  }
}
