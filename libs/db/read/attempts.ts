import { type AttemptView, attemptPurpose, attemptState, CairnError, isLiveAttempt } from '@cairn/contract';
import { z } from 'zod';
import type { Transaction } from '../client.ts';
import type { Prisma } from '../generated/client.ts';
import { failureColumn, findingColumn, isoTime, isoTimeOrNull, readColumn, readNullable, readRows, resumedFromColumn } from './columns.ts';
import { findStepRow, type StepArgs } from './get-step.ts';

const attemptColumns = {
  id: true,
  runId: true,
  stepId: true,
  ordinal: true,
  generation: true,
  state: true,
  purpose: true,
  failure: true,
  finding: true,
  contact: true,
  pool: true,
  place: true,
  resumedFrom: true,
  createdAt: true,
  startedAt: true,
  endedAt: true,
  lastContactAt: true,
  step: { select: { name: true } },
} as const satisfies Prisma.AttemptSelect;

const contactColumn = z.enum(['ok', 'silent', 'none']);

/** All attempts of a step, including earlier generations, oldest first. */
export async function listAttempts(db: Transaction, args: StepArgs): Promise<{ items: AttemptView[] }> {
  const step = await findStepRow(db, args);
  const rows = await db.attempt.findMany({ where: { stepId: step.id }, orderBy: { ordinal: 'asc' }, select: attemptColumns });
  const reached = await reachedSteps(db, rows);
  return { items: rows.map((row) => attemptViewOf(row, reached)) };
}

/** @throws CairnError `not_found` */
export async function getAttempt(db: Transaction, args: { projectId: string; attemptId: string }): Promise<AttemptView> {
  const row = await db.attempt.findFirst({
    where: { id: args.attemptId, step: { run: { projectId: args.projectId } } },
    select: attemptColumns,
  });
  if (row === null) throw new CairnError('not_found', `Attempt ${args.attemptId} not found`);
  return attemptViewOf(row, await reachedSteps(db, [row]));
}

const reachedRow = z.object({ attemptId: z.string(), step: z.number().int() });

/** The last optimizer step for which each attempt reported a metric; the steps of a chunk are in order. */
async function reachedSteps(db: Transaction, attempts: readonly { id: string }[]): Promise<Map<string, number>> {
  const rows = await db.$queryRaw`
    select attempt_id as "attemptId", max(steps[cardinality(steps)]) as step from metric_chunk
     where attempt_id = any(${attempts.map(({ id }) => id)}) and cardinality(steps) > 0 group by attempt_id`;
  return new Map(readRows(reachedRow, rows).map(({ attemptId, step }) => [attemptId, step]));
}

type AttemptRow = Prisma.AttemptGetPayload<{ select: typeof attemptColumns }>;

function attemptViewOf({ step, ...row }: AttemptRow, reached: ReadonlyMap<string, number>): AttemptView {
  const what = `attempt ${row.id}`;
  const state = readColumn(attemptState, row.state, `${what} state`);
  return {
    ...row,
    step: step.name,
    state,
    purpose: readColumn(attemptPurpose, row.purpose, `${what} purpose`),
    // An ended attempt shows its failure instead.
    finding: isLiveAttempt(state) ? readNullable(findingColumn, row.finding, `${what} finding`) : null,
    failure: readNullable(failureColumn, row.failure, `${what} failure`),
    contact: readColumn(contactColumn, row.contact, `${what} contact`),
    resumedFrom: readNullable(resumedFromColumn, row.resumedFrom, `${what} resumed_from`),
    reachedStep: reached.get(row.id) ?? null,
    createdAt: isoTime(row.createdAt),
    startedAt: isoTimeOrNull(row.startedAt),
    endedAt: isoTimeOrNull(row.endedAt),
    lastContactAt: isoTimeOrNull(row.lastContactAt),
  };
}
