import { CairnError, isLiveAttempt } from '@cairn/contract';
import type { PrismaClient, Transaction } from '@cairn/db';
import { states, stopCauseColumn } from '../columns.ts';

/**
 * The attempt that a token's generation speaks for.
 *
 * @throws CairnError `superseded` when it is over or another generation took its place: its process stops, its files touch nothing
 */
export async function liveAttempt(db: PrismaClient | Transaction, attemptId: string, generation: number) {
  const attempt = await attemptNow(db, attemptId);
  const { state } = attempt;
  if (attempt.generation !== generation) throw superseded(attemptId, `generation ${generation} was replaced by ${attempt.generation}`);
  if (!isLiveAttempt(state)) throw superseded(attemptId, `it is ${state}`);
  return attempt;
}

/** @throws CairnError `not_found` */
export async function attemptNow(db: PrismaClient | Transaction, attemptId: string) {
  const attempt = await db.attempt.findUnique({ where: { id: attemptId } });
  if (!attempt) throw new CairnError('not_found', `there is no attempt ${attemptId}`);
  return { ...attempt, state: states.attempt.parse(attempt.state), stopCause: stopCauseColumn.parse(attempt.stopCause) };
}

export const superseded = (attemptId: string, why: string): CairnError =>
  new CairnError('superseded', `attempt ${attemptId} may not go on: ${why}`);
