import { type AttemptState, CairnError, type FailureView, isLiveAttempt } from '@cairn/contract';
import type { PrismaClient, Transaction } from '@cairn/db';
import { exhaustedCause, retryDelayMs } from '@cairn/domain';
import { states, stopCauseColumn } from '../columns.ts';
import { changeStep, type RunWork, type WorkStep } from '../run-work.ts';

/**
 * The live attempt that a token and its generation identify.
 *
 * @throws CairnError `superseded` when it has ended or another generation replaced it: its process stops, and its files are not used
 */
export async function liveAttempt(db: PrismaClient | Transaction, attemptId: string, generation: number) {
  const attempt = await attemptNow(db, attemptId);
  requireLive(attempt, generation);
  return attempt;
}

/** @throws CairnError `superseded` as {@link liveAttempt} */
export function requireLive({ id, ...attempt }: { id: string; generation: number; state: AttemptState }, generation: number): void {
  if (attempt.generation !== generation) throw superseded(id, `generation ${generation} was replaced by ${attempt.generation}`);
  if (!isLiveAttempt(attempt.state)) throw superseded(id, `it is ${attempt.state}`);
}

/** @throws CairnError `not_found` */
export async function attemptNow(db: PrismaClient | Transaction, attemptId: string) {
  const attempt = await db.attempt.findUnique({ where: { id: attemptId } });
  if (!attempt) throw noAttempt(attemptId);
  return { ...attempt, state: states.attempt.parse(attempt.state), stopCause: stopCauseColumn.parse(attempt.stopCause) };
}

export const noAttempt = (attemptId: string): CairnError => new CairnError('not_found', `attempt ${attemptId} not found`);

export const superseded = (attemptId: string, why: string): CairnError =>
  new CairnError('superseded', `attempt ${attemptId} must stop: ${why}`);

/** Charges a failure to the retry budget of its cause and sets the time before which the step is not retried. */
export function recordFailure(run: RunWork, step: WorkStep, failure: FailureView): void {
  // The step has already failed: later failures of its other attempts are not the reason.
  if (exhaustedCause(step.failures) !== null) return;
  const nth = (step.failures[failure.cause] ?? 0) + 1;
  changeStep(run, step, {
    failures: { ...step.failures, [failure.cause]: nth },
    failure,
    notBefore: new Date(run.now.getTime() + retryDelayMs(failure.cause, nth)),
  });
}
