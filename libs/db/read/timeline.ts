import { attemptPurpose, attemptState, maxTimelineAttempts, type RunTimeline, stepKind, stepState } from '@cairn/contract';
import type { Transaction } from '../client.ts';
import { failureColumn, isoTime, isoTimeOrNull, readColumn, readNullable, resumedFromColumn } from './columns.ts';
import { runNotFound } from './get-run.ts';

/**
 * When the steps of a run and their attempts waited and ran.
 *
 * @throws CairnError `not_found`
 */
export async function readTimeline(
  db: Transaction,
  { projectId, runId }: { projectId: string; runId: string },
  now = new Date(),
): Promise<RunTimeline> {
  const run = await db.run.findFirst({
    where: { id: runId, projectId },
    select: {
      startedAt: true,
      finishedAt: true,
      steps: {
        orderBy: { position: 'asc' },
        select: { id: true, name: true, kind: true, state: true, createdAt: true, readyAt: true, startedAt: true, finishedAt: true },
      },
    },
  });
  if (run === null) throw runNotFound(runId);
  const attemptsTotal = await db.attempt.count({ where: { runId } });
  const attempts = await db.attempt.findMany({
    where: { runId },
    orderBy: [{ createdAt: 'desc' }, { id: 'desc' }],
    take: maxTimelineAttempts,
    select: {
      ...{ id: true, stepId: true, ordinal: true, purpose: true, state: true, pool: true, slots: true, place: true },
      ...{ createdAt: true, startedAt: true, endedAt: true, failure: true, stopReason: true, resumedFrom: true },
    },
  });
  const names = new Map(run.steps.map((step) => [step.id, step.name]));
  return {
    asOf: isoTime(now),
    startedAt: isoTimeOrNull(run.startedAt),
    finishedAt: isoTimeOrNull(run.finishedAt),
    steps: run.steps.map((step) => ({
      id: step.id,
      name: step.name,
      kind: readColumn(stepKind, step.kind, `step ${step.id} kind`),
      state: readColumn(stepState, step.state, `step ${step.id} state`),
      createdAt: isoTime(step.createdAt),
      readyAt: isoTimeOrNull(step.readyAt),
      startedAt: isoTimeOrNull(step.startedAt),
      finishedAt: isoTimeOrNull(step.finishedAt),
    })),
    attempts: attempts.toReversed().map(({ stepId, ...row }) => {
      const failure = readNullable(failureColumn, row.failure, `attempt ${row.id} failure`);
      return {
        ...row,
        step: names.get(stepId) ?? 'unknown',
        purpose: readColumn(attemptPurpose, row.purpose, `attempt ${row.id} purpose`),
        state: readColumn(attemptState, row.state, `attempt ${row.id} state`),
        createdAt: isoTime(row.createdAt),
        startedAt: isoTimeOrNull(row.startedAt),
        endedAt: isoTimeOrNull(row.endedAt),
        failure: failure && { ...failure, message: failure.message.split('\n')[0]?.slice(0, 300) ?? '' },
        resumedFrom: readNullable(resumedFromColumn, row.resumedFrom, `attempt ${row.id} resumed_from`),
      };
    }),
    attemptsTotal,
  };
}
