import { CairnError, isLiveAttempt } from '@cairn/contract';
import type { PrismaClient, Transaction } from '@cairn/db';
import { states, stopCauseColumn } from '../columns.ts';

/**
 * The live attempt that a token and its generation identify.
 *
 * @throws CairnError `superseded` when it has ended or another generation replaced it: its process stops, and its files are not used
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
  if (!attempt) throw new CairnError('not_found', `attempt ${attemptId} not found`);
  return { ...attempt, state: states.attempt.parse(attempt.state), stopCause: stopCauseColumn.parse(attempt.stopCause) };
}

export const superseded = (attemptId: string, why: string): CairnError =>
  new CairnError('superseded', `attempt ${attemptId} must stop: ${why}`);
