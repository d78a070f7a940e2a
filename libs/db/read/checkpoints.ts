import type { CheckpointList } from '@cairn/contract';
import type { Transaction } from '../client.ts';
import { isoTime, isoTimeOrNull } from './columns.ts';
import { findStepRow, type StepArgs } from './steps.ts';

const most = 1_000;

/** The checkpoints that a step's attempts stored, newest first. Those whose files were removed are listed too. */
export async function listCheckpoints(db: Transaction, args: StepArgs): Promise<CheckpointList> {
  const step = await findStepRow(db, args);
  const where = { stepId: step.id };
  const rows = await db.checkpoint.findMany({ where, orderBy: [{ createdAt: 'desc' }, { step: 'desc' }], take: most });
  const attempts = await db.attempt.findMany({ where, select: { id: true, ordinal: true } });
  const ordinals = new Map(attempts.map(({ id, ordinal }) => [id, ordinal]));
  return {
    items: rows.map(({ id, attemptId, step: optimizerStep, epoch, bytes, sha256, final, createdAt, verifiedAt, removedAt }) => ({
      ...{ id, attemptId, ordinal: ordinals.get(attemptId) ?? 0, step: optimizerStep, epoch, bytes: Number(bytes), sha256, final },
      createdAt: isoTime(createdAt),
      verifiedAt: isoTimeOrNull(verifiedAt),
      removedAt: isoTimeOrNull(removedAt),
    })),
    total: await db.checkpoint.count({ where }),
  };
}
